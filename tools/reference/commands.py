"""The page of commands, from what typer knows of the program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reference.text import plain, table


def commands_page() -> str:
    """Write each command with its arguments and options."""
    import typer

    from search.cli.program import app

    program: Any = typer.main.get_command(app)
    listed = list(_commands(program, "boostformer"))
    index = table(
        ("command", "does"),
        ((f"[`{name}`](#{_anchor(name)})", plain(_first(command.help))) for name, command in listed),
    )
    options = "## Before the command\n\n" + _parameters(program)
    return index + "\n" + options + "\n" + "\n".join(_page(name, command) for name, command in listed)


def _commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{name} {word}")
        elif not command.hidden:
            yield f"{name} {word}", command


def _anchor(name: str) -> str:
    return name.replace(" ", "-").lower()


def _first(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0]


def _page(name: str, command: Any) -> str:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    usage = " ".join([name, *(_placeholder(argument) for argument in arguments), "[OPTIONS]"])
    text = plain((command.help or "").strip().replace("\b", ""))
    return f"## {name}\n\n```text\n{usage}\n```\n\n{text}\n\n{_parameters(command)}"


def _placeholder(argument: Any) -> str:
    word = argument.metavar or argument.name.upper()
    return word + ("…" if argument.nargs == -1 and not word.endswith("…") else "")


def _parameters(command: Any) -> str:
    rows = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            continue
        is_argument = parameter.param_type_name == "argument"
        names = [_placeholder(parameter)] if is_argument else [*parameter.opts, *parameter.secondary_opts]
        default = parameter.default
        shown = "" if callable(default) or default in (None, False, (), []) else f"`{default}`"
        shown = "required" if parameter.required else shown
        rows.append((", ".join(f"`{name}`" for name in names), plain(parameter.help or ""), shown))
    return table(("", "", "default"), rows)
