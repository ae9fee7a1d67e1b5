"""What the files around the code promise: versions, pins, the wheel's contents, the README's links."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from test_imports import REPOSITORY, read_imports, read_sources

import boostformer

ROOMS = ("boostformer", "search_space", "evaluators", "results", "search")


def installed_requirements(name: str, extra: str, seen: set[str]) -> set[str]:
    """Names of all that distribution ``name`` with ``extra`` needs, directly or not."""
    for line in metadata.requires(name) or []:
        requirement = Requirement(line)
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        found = canonicalize_name(requirement.name)
        if wanted and found not in seen:
            seen.add(found)
            for inner in {"", *requirement.extras}:
                installed_requirements(requirement.name, inner, seen)
    return seen


def test_versions_agree() -> None:
    newest = re.search(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == boostformer.__version__ == metadata.version("boostformer")


def read_pins(file: str) -> dict[str, str]:
    lines = (REPOSITORY / file).read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins.items()}


def test_everything_installed_is_pinned() -> None:
    pins = read_pins("constraints.txt")
    needed = installed_requirements("boostformer", "test", set())
    installed = {name: metadata.version(name).partition("+")[0] for name in needed}
    assert {name: pins.get(name) for name in needed} == installed


def test_nni_is_installed_as_pinned_and_changes_no_other_pin() -> None:
    pytest.importorskip("nni", reason="NNI is not installed: pip install --no-deps -r constraints-nni.txt")
    pins, others = read_pins("constraints-nni.txt"), read_pins("constraints.txt")
    assert pins == {name: metadata.version(name) for name in pins}
    assert {name: others[name] for name in pins if name in others}.items() <= pins.items()


def test_every_imported_package_is_required() -> None:
    """Of our own rooms; an import that only comes along with another package may vanish with its next version."""
    providers = metadata.packages_distributions()
    required = {canonicalize_name(Requirement(line).name) for line in metadata.requires("boostformer") or []}
    imported = {found.target.partition(".")[0] for found in read_imports(read_sources(REPOSITORY))}
    foreign = imported - set(ROOMS) - sys.stdlib_module_names
    assert "torch" in foreign
    provided = {name: {canonicalize_name(by) for by in providers.get(name, [name])} for name in foreign}
    assert {name for name in foreign if not required & provided[name]} == set()


def test_readme_is_short_and_its_links_lead_somewhere() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150
    links = re.findall(r"\]\(([^)#]+)", readme)
    assert len(links) > 20
    assert [link for link in links if not (REPOSITORY / link).is_file()] == []
    pictures = [REPOSITORY / link for link in links if link.endswith(".png")]
    assert pictures and all(picture.stat().st_size < 150_000 for picture in pictures)


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_preset(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for room in ROOMS:
        shutil.copytree(REPOSITORY / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    held = {path.relative_to(source).as_posix() for room in ROOMS for path in (source / room).rglob("*.*")}
    # Without isolation: the build must not fetch anything.
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        source,
    ]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == held
