"""The directions of imports between and inside the five rooms, read from the syntax of every file.

An import that is made late, in a function or by name, counts like any other, and so does one for type checkers alone:
whoever reads a module has to know what it names.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
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
FLOORS = ("config", "strategies", "study", "worker", "cli")
"""The folders of ``search``; each imports only from those before it."""
DOORS = {
    # `boostformer` is the name that a user types, so the program starts from it and its public names lead to every
    # room. Nothing in the room itself uses these: taken away, the networks are as usable as before.
    ("boostformer", "results.run"),
    ("boostformer", "results.tables"),
    ("boostformer", "results.together"),
    ("boostformer", "search_space.reader"),
    ("boostformer.__main__", "search.cli.__main__"),
}
"""The only imports that go up: (importer, target)."""
TORCH_FREE = [
    "boostformer",
    "boostformer.errors",
    "boostformer.architecture",
    "boostformer.data.check",
    "boostformer.data.contact_sheet",
    "boostformer.figures",
    "boostformer.yaml_lines",
    "results.agreement",
    "results.run",
    "results.tables",
    "search.cli.program",
]


@dataclass(frozen=True)
class Import:
    """One import: ``target`` is a module of ours where the name is one, else as written."""

    importer: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


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
    """Every import in ``source``.

    Statements anywhere, ``import_module("…")`` and ``__import__("…")``, and string constants that name one of our
    modules with a dot (tables of lazy imports), but not programs that are started: ``["-m", "…"]``.
    """
    importer = module_name(name)
    package = importer if name.endswith(".__init__") else importer.rpartition(".")[0]
    tree = ast.parse(source)
    started = {
        id(after)
        for node in ast.walk(tree)
        if isinstance(node, ast.List)
        for before, after in pairwise(node.elts)
        if isinstance(before, ast.Constant) and before.value == "-m"
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
            targets = [] if id(node) in started else [str(node.value)]
        for target in targets:
            yield Import(importer, target, node.lineno)


def read_imports(sources: Mapping[str, str]) -> list[Import]:
    modules = {module_name(name) for name in sources}
    return [found for name, source in sources.items() for found in imports_of(name, source, modules)]


def wrong_directions(imports: list[Import]) -> list[str]:
    wrong = []
    for found in imports:
        room, other = found.importer.partition(".")[0], found.target.partition(".")[0]
        if other in MAY_IMPORT and other != room and other not in MAY_IMPORT[room]:
            wrong.append(str(found))
    return wrong


def upward(imports: list[Import]) -> list[str]:
    """Imports of a folder of ``search`` from one that stands above it; also from one that has no floor."""
    wrong = []
    for found in imports:
        folders = [name.split(".")[1] for name in (found.importer, found.target) if name.startswith("search.")]
        if len(folders) == 2 and folders[0] != folders[1]:
            lower, upper = (FLOORS.index(folder) if folder in FLOORS else -1 for folder in reversed(folders))
            if lower < 0 or lower >= upper:
                wrong.append(str(found))
    return wrong


def rings(imports: list[Import]) -> list[list[str]]:
    """Rings of modules that import each other, and of what stands side by side in a package, its folders as one each.

    One ring for each package, if any, and one among all modules. A package's ``__init__`` that gathers its own modules
    is none.
    """
    known = [found for found in imports if not found.target.startswith(f"{found.importer}.")]
    names = {name for found in known for name in (found.importer, found.target)}
    packages = {".".join(name.split(".")[:count]) for name in names for count in range(1, name.count(".") + 1)}
    graphs = [{(found.importer, found.target) for found in known}]
    for package in sorted(packages):
        inside = f"{package}."
        pairs = [(f.importer, f.target) for f in known if f.importer.startswith(inside) and f.target.startswith(inside)]
        children = [tuple(inside + name.removeprefix(inside).split(".")[0] for name in pair) for pair in pairs]
        graphs.append({(one, other) for one, other in children if one != other})
    return [ring for graph in graphs if (ring := ring_of(graph))]


def ring_of(graph: set[tuple[str, str]]) -> list[str]:
    """The nodes of a ring in a graph of (from, to), the first one again at its end; nothing where there is none."""
    sorter: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for importer, target in sorted(graph):
        sorter.add(importer, target)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        return list(reversed(error.args[1]))
    return []


def our_imports() -> list[Import]:
    """All imports of the repository but those of the front door, each of which must be there."""
    found = read_imports(read_sources(REPOSITORY))
    assert {(one.importer, one.target) for one in found} >= DOORS, "an exception that is no longer needed"
    return [one for one in found if (one.importer, one.target) not in DOORS]


def test_imports_go_down() -> None:
    imports = our_imports()
    assert {one.importer.partition(".")[0] for one in imports} == set(MAY_IMPORT), "a room is missing"
    assert wrong_directions(imports) == []


def test_imports_in_search_go_down() -> None:
    imports = our_imports()
    assert {name.split(".")[1] for found in imports if (name := found.importer).startswith("search.")} == set(FLOORS)
    assert upward(imports) == []


def test_no_module_and_no_folder_imports_itself_through_others() -> None:
    assert rings(our_imports()) == []


@pytest.mark.parametrize("module", TORCH_FREE)
def test_torch_is_not_loaded_by(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or f"importing {module} loads torch"


def test_the_command_line_begins_without_what_computes() -> None:
    code = "import sys, search.cli.program; print({'numpy', 'pandas', 'optuna'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stdout or done.stderr


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
    ("module", "source"),
    [
        ("search.config.problem", "from search.strategies.base import Strategy"),
        ("search.config.problem", "if TYPE_CHECKING:\n    from search.study import queue"),
        ("search.strategies.base", "def f():\n    from search.study.queue import Queue"),
        ("search.study.queue", "from ..worker import loop"),
        ("search.worker.launchers.service", "import search.cli.program"),
        ("search.worker.local", "LAZY = {'main': 'search.cli.program'}"),
        ("search.study.queue", "from search import loose"),
        ("search.loose", "from search.study.queue import Queue"),
    ],
)
def test_a_wrong_direction_inside_search_is_seen(module: str, source: str) -> None:
    names = ("strategies.base", "study.queue", "worker.loop", "cli.program", "loose")
    assert len(upward(read_imports({f"search.{name}": "" for name in names} | {module: source}))) == 1


def test_right_directions_inside_search_are_not_complained_about() -> None:
    sources = {
        "search.__init__": "",
        "search.config.problem": "import search_space, numpy\nfrom search.config import sections",
        "search.config.sections": "",
        "search.worker.launchers.service": "from search.worker.local import run\nfrom search.study.queue import Queue",
        "search.worker.local": "PROGRAM = [sys.executable, '-P', '-m', 'search.cli']",
        "search.study.queue": "from search.config.problem import Problem\nfrom search.strategies import base",
        "search.cli.__init__": "from search.worker.launchers import service",
    }
    assert upward(read_imports(sources)) == rings(read_imports(sources)) == []


@pytest.mark.parametrize(
    "sources",
    [
        {"boostformer.a": "from boostformer import b", "boostformer.b": "import boostformer.a"},
        {"boostformer.a": "from . import b", "boostformer.b": "def f():\n    from .a import name"},
        {"boostformer.a": "from . import b", "boostformer.b": "if TYPE_CHECKING:\n    from .a import name"},
        {
            "boostformer.a": "from .c import x",
            "boostformer.b": "from .a import x",
            "boostformer.c": "from .b import x",
        },
    ],
)
def test_a_ring_of_modules_is_seen(sources: dict[str, str]) -> None:
    found = rings(read_imports({"boostformer.__init__": ""} | sources))
    assert found and all(set(ring) == set(sources) for ring in found)


@pytest.mark.parametrize(
    ("sources", "ring"),
    [
        (
            {
                "boostformer.a.one": "import boostformer.b",
                "boostformer.b": "from .a import two",
                "boostformer.a.two": "",
            },
            {"boostformer.a", "boostformer.b"},
        ),
        (
            {
                "evaluators.latency.jetson.one": "import evaluators.latency.table.two",
                "evaluators.latency.table.two": "",
                "evaluators.latency.table.three": "def f():\n    from evaluators.latency.jetson.four import x",
                "evaluators.latency.jetson.four": "",
            },
            {"evaluators.latency.jetson", "evaluators.latency.table"},
        ),
    ],
)
def test_a_ring_of_folders_is_seen(sources: dict[str, str], ring: set[str]) -> None:
    (found,) = rings(read_imports(sources))
    assert set(found) == ring


def test_gathering_imports_are_no_ring() -> None:
    sources = {
        "boostformer.blocks.__init__": "from boostformer.blocks import ffn, registry",
        "boostformer.blocks.ffn": "from boostformer.blocks.registry import register",
        "boostformer.blocks.registry": "from boostformer.errors import UserError",
        "boostformer.errors": "",
        "boostformer.__init__": "LAZY = {'build': 'boostformer.model'}",
        "boostformer.model": "from boostformer import UserError\nfrom boostformer.blocks import register",
    }
    assert rings(read_imports(sources)) == []
