"""The import direction of the five rooms, lazy imports included, read from the syntax of every file."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "boostformer": set(),
    "search_space": {"boostformer"},
    "evaluators": {"boostformer"},
    "results": {"boostformer"},
    "search": {"boostformer", "search_space", "evaluators", "results"},
}
TORCH_FREE = [
    "boostformer",
    "boostformer.errors",
    "boostformer.architecture",
    "boostformer.yaml_lines",
    "results",
    "search.cli",
]


@dataclass(frozen=True)
class Import:
    """One import: ``target`` is a module of ours where the name is one, else as written."""

    importer: str
    target: str
    line: int
    runs: bool
    """Whether it is a statement that runs some time, and not one for type checkers only, nor a string."""


def read_sources(root: Path) -> dict[str, str]:
    """Dotted module name -> source, for every Python file of the five rooms."""
    sources = {}
    for room in MAY_IMPORT:
        for path in sorted((root / room).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts)
            sources[name] = path.read_text()
    return sources


def module_name(name: str) -> str:
    return name.removesuffix(".__init__")


def imports_of(name: str, source: str, modules: set[str]) -> Iterator[Import]:
    """Every import in ``source``: statements anywhere, ``import_module("…")`` and ``__import__("…")``,
    and string constants that name one of our modules with a dot (tables of lazy imports)."""
    importer = module_name(name)
    package = importer if name.endswith(".__init__") else importer.rpartition(".")[0]
    tree = ast.parse(source)
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for child in ast.walk(statement)
    }
    for node in ast.walk(tree):
        targets: list[str] = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join(parents[: len(parents) - node.level + 1] + ([base] if base else []))
            # `from package import module` imports the module; `from module import name` the module before it.
            inner = [f"{base}.{alias.name}" for alias in node.names]
            targets = [full if full in modules else base for full in inner]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            targets = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
        elif isinstance(node, ast.Constant) and node.value in modules and "." in str(node.value):
            targets = [str(node.value)]
        for target in targets:
            runs = id(node) not in typing_only and not isinstance(node, ast.Constant)
            yield Import(importer, target, node.lineno, runs)


def read_imports(sources: Mapping[str, str]) -> list[Import]:
    modules = {module_name(name) for name in sources}
    return [found for name, source in sources.items() for found in imports_of(name, source, modules)]


def wrong_directions(imports: list[Import]) -> list[str]:
    wrong = []
    for found in imports:
        room, other = found.importer.partition(".")[0], found.target.partition(".")[0]
        if other in MAY_IMPORT and other != room and other not in MAY_IMPORT[room]:
            wrong.append(f"{found.importer}:{found.line} imports {found.target}")
    return wrong


def cycle(imports: list[Import]) -> list[str]:
    """A ring of modules that import each other, or nothing; moving an import into a function does not
    break it. A package's ``__init__`` that gathers its own modules is none."""
    graph: dict[str, set[str]] = {}
    for found in imports:
        gathers = found.target.startswith(f"{found.importer}.")
        if found.runs and not gathers:
            graph.setdefault(found.importer, set()).add(found.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(reversed(error.args[1]))
    return []


def test_imports_go_down() -> None:
    sources = read_sources(REPOSITORY)
    assert {name.partition(".")[0] for name in sources} == set(MAY_IMPORT), "a room is missing"
    assert wrong_directions(read_imports(sources)) == []


def test_no_module_imports_itself_through_others() -> None:
    assert cycle(read_imports(read_sources(REPOSITORY))) == []


@pytest.mark.parametrize("module", TORCH_FREE)
def test_torch_is_not_loaded_by(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or f"importing {module} loads torch"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("boostformer.model", "import search_space.space"),
        ("boostformer.model", "def f():\n    from evaluators import cost_table"),
        ("boostformer.model", "def f():\n    import importlib\n    importlib.import_module('results')"),
        ("boostformer.model", "__import__('results')"),
        ("boostformer.model", "if TYPE_CHECKING:\n    from search import cli"),
        ("search_space.space", "from evaluators.costs.table import CostTable"),
        ("evaluators.proxy", "try:\n    import results.pareto as front\nexcept ImportError:\n    pass"),
        ("results.pareto", "class A:\n    from search.cli.program import main"),
        ("results.__init__", "LAZY = {'space': 'search_space.space'}"),
    ],
)
def test_a_wrong_direction_is_seen(module: str, source: str) -> None:
    sources = {"search_space.space": "", "evaluators.costs.table": "", "results.pareto": "", "search.cli": ""}
    assert len(wrong_directions(read_imports(sources | {module: source}))) == 1


def test_right_directions_are_not_complained_about() -> None:
    sources = {
        "boostformer.__init__": "",
        "boostformer.model": "import torch, search_engine\nkey = 'results'",
        "results.pareto": "from boostformer import model\nfrom . import record",
        "results.schema": "import numpy",
        "search.cli": "def f():\n    import results.pareto, evaluators, search_space, boostformer",
    }
    assert wrong_directions(read_imports(sources)) == []


@pytest.mark.parametrize(
    "sources",
    [
        {"boostformer.a": "from boostformer import b", "boostformer.b": "import boostformer.a"},
        {"boostformer.a": "from . import b", "boostformer.b": "def f():\n    from .a import name"},
        {
            "boostformer.a": "from .c import x",
            "boostformer.b": "from .a import x",
            "boostformer.c": "from .b import x",
        },
    ],
)
def test_a_ring_is_seen(sources: dict[str, str]) -> None:
    assert set(cycle(read_imports({"boostformer.__init__": ""} | sources))) == set(sources)


def test_gathering_and_typing_imports_are_no_ring() -> None:
    sources = {
        "boostformer.blocks.__init__": "from boostformer.blocks import ffn, registry",
        "boostformer.blocks.ffn": "from boostformer.blocks.registry import register",
        "boostformer.blocks.registry": "if TYPE_CHECKING:\n    from boostformer.blocks import ffn",
        "boostformer.__init__": "LAZY = {'build': 'boostformer.model'}",
        "boostformer.model": "from boostformer import UserError",
    }
    assert cycle(read_imports(sources)) == []
