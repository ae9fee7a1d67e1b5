"""The documentation site: it builds without a warning, its links lead somewhere, its pages load nothing from afar."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer

REPOSITORY = Path(__file__).resolve().parent.parent
LOADING = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("video", "src")}
"""Attributes by which a page fetches something by itself; links that a reader follows are not among them."""


class Page(HTMLParser):
    """The anchors of a page, what it links to and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        self.loaded += [value for name, value in given.items() if (tag, name) in LOADING]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="mkdocs-material is not installed: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("docs") / "site"
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # news of mkdocs, not of our pages
    done = subprocess.run(build, cwd=REPOSITORY, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


@pytest.mark.slow
def test_links_and_anchors_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    lost, followed = [], 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            known = target.is_file() and (not parts.fragment or unquote(parts.fragment) in pages[target].anchors)
            followed += 1
            if not known:
                lost.append(f"{path.relative_to(site)}: {link}")
    assert lost == []
    assert followed > 1000


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    assert [link for page in pages.values() for link in page.loaded if urlsplit(link).netloc] == []
    missing = [
        f"{path.relative_to(site)}: {link}"
        for path, page in pages.items()
        for link in page.loaded
        if path.name != "404.html" and not (path.parent / unquote(urlsplit(link).path)).is_file()
    ]
    assert missing == []
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert styles and not any(
        re.search(r"url\(['\"]?(https?:)?//|@import\s+['\"]?(https?:)?//", text) for text in styles
    )


@pytest.mark.slow
def test_reference_pages_hold_what_the_code_declares(site: Path) -> None:
    import boostformer
    from boostformer import recipes
    from boostformer.blocks import registry
    from search.config.sections import RunConfig

    def text(name: str) -> str:
        return (site / "reference" / f"{name}.html").read_text(encoding="utf-8")

    assert all(f"<code>{name}</code>" in text("run-file") for name in (*recipes_keys(), "reduction_factor"))
    assert all(f">{name}<" in text("run-file") for name in RunConfig.model_fields)
    assert all(f'id="{name}"' in text("recipes") for name in recipes.names())
    assert all(f'id="{block.kind}-{block.name}"' in text("blocks") for block in registry.declarations())
    assert all(f'id="boostformer{name.lower()}"' in text("python") for name in boostformer.__all__)
    assert all(f'id="{name.replace(" ", "-")}"' in text("commands") for name in commands())
    assert "<!-- generated" not in "".join(text(path.stem) for path in (site / "reference").glob("*.html"))


def recipes_keys() -> list[str]:
    from boostformer.training.recipes import Recipe

    return list(Recipe.model_fields)


def commands() -> dict[str, Any]:
    """Every command by its full name, such as "boostformer latency measure"."""
    from search.cli.program import app

    def walk(group: Any, name: str) -> Iterator[tuple[str, Any]]:
        for word, command in group.commands.items():
            yield from (
                walk(command, f"{name} {word}") if hasattr(command, "commands") else [(f"{name} {word}", command)]
            )

    return dict(walk(typer.main.get_command(app), "boostformer"))


def shown_commands() -> Iterator[tuple[str, list[str]]]:
    """Lines of the documentation's code blocks that call the program, with the file they stand in."""
    for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))):
        blocks = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for block in (text for language, text in blocks if language in ("", "sh")):
            for line in block.replace("\\\n", " ").splitlines():
                words = line.strip().removeprefix("$ ").partition("  #")[0]
                if re.match(r"boostformer \S", words):
                    yield f"{path.relative_to(REPOSITORY)}: {words}", shlex.split(words)


def options_in(words: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}


def declared(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def test_commands_and_options_that_are_shown_exist() -> None:
    known, wrong, seen = commands(), [], 0
    for place, words in shown_commands():
        seen += 1
        ours, behind = (words[: words.index("--")], words[words.index("--") :]) if "--" in words else (words, [])
        trains = declared(known["boostformer retrain"]) | declared(known["boostformer train"])
        wrong += [f"{place}: {option}" for option in sorted(options_in(behind) - trains)]
        options = options_in(ours)
        name = next((name for count in (3, 2) if (name := " ".join(words[:count])) in known), None)
        if name is None:
            wrong += [place] * (words[1] not in ("--version", "--import", "--install-completion", "…"))
            continue
        wrong += [f"{place}: {option}" for option in sorted(options - declared(known[name]) - {"--help"})]
    assert seen > 50
    assert wrong == []


def test_tests_that_are_said_to_prove_something_exist() -> None:
    """The list of what was seen names its tests by file and function; names of files are unique."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (REPOSITORY / "docs/results/hardening.md").read_text("utf-8"))
    files = {file.name: file.read_text("utf-8") for file in (REPOSITORY / "tests").rglob("test_*.py")}
    assert named
    assert not [f"{file}::{name}" for file, name in named if f"def {name}(" not in files[file]]
