"""The page of the Python interface, from signatures and docstrings."""

from __future__ import annotations

import importlib
import inspect

from reference.text import described

_MORE = {
    "boostformer.fold": ("fold",),
    "boostformer.presets": ("load", "names"),
    "boostformer.recipes": ("load", "names"),
}


def python_page() -> str:
    """Write the public names of `boostformer`, and of a few modules beneath."""
    import boostformer

    pages = [_entry("boostformer", name) for name in boostformer.__all__]
    pages += [_entry(module, name) for module, names in _MORE.items() for name in names]
    return "\n".join(pages)


def _entry(module: str, name: str) -> str:
    thing = getattr(importlib.import_module(module), name)
    text = f"## {module}.{name}\n\n```python\n{name}{_signature(thing)}\n```\n\n{described(thing)}"
    if inspect.isclass(thing):
        text += "".join(_method(name, method, value) for method, value in vars(thing).items() if _public(method, value))
    return text


def _method(owner: str, name: str, value: object) -> str:
    function = getattr(value, "__func__", value)
    return f"\n### {owner}.{name}\n\n```python\n{name}{_signature(function)}\n```\n\n{described(function)}"


def _public(name: str, value: object) -> bool:
    function = getattr(value, "__func__", value)
    return not name.startswith("_") and inspect.isfunction(function) and bool(inspect.getdoc(function))


def _signature(thing: object) -> str:
    try:
        return str(inspect.signature(thing)).replace("'", "")  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "(…)"
