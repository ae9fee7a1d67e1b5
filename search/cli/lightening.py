"""The folder of a lightening: what was asked for, its run file and its space file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostformer.errors import UserError, short

if TYPE_CHECKING:
    from boostformer.architecture import Architecture
    from boostformer.data.config import DataConfig
    from boostformer.figures import Latency
    from boostformer.weights.checkpoint import Config

VERSION = 1
TRIALS = 60
"""Networks that are tried, unless told."""
ASKED, RUN, SPACE, START, SEARCH = "lighten.json", "run.yaml", "space.yaml", "start", "search"
"""What stands in the folder before the search begins, and the search's folder."""
LIMITED = {"macs": "--macs", "params": "--params", "latency_ms": "--latency"}
"""Options by the cost that they limit."""


@dataclass(frozen=True)
class Limits:
    """The largest costs that were asked for, as they were written: shares of the start's, such as 60%, or absolute."""

    written: Mapping[str, str]

    def __post_init__(self) -> None:
        from search.config.limits import Limit

        if not self.written:
            raise UserError(f"nothing is to be lighter: give {' or '.join(LIMITED.values())}, such as --macs 60%")
        for name, text in self.written.items():
            try:
                # A share of milliseconds is one as any other; a run file has the milliseconds that it comes to.
                limit = Limit.read("params" if self.is_share(name) else name, text)
            except ValueError:
                absolute = "20 or '20 ms'" if name == "latency_ms" else "3M, 1.5G or 2500000"
                allowed = f"a share of the network's own, such as 60%, or {absolute}"
                raise UserError(f"{LIMITED[name]}: {short(text)} is not a limit; allowed: {allowed}") from None
            if limit.is_share and limit.number >= 100:
                raise UserError(f"{LIMITED[name]}: {text} is not lighter; allowed: a share below 100%")

    def is_share(self, name: str) -> bool:
        """Tell whether the limit on this cost is a share of the start's."""
        return self.written[name].strip().endswith("%")

    def check(self, start: str, network: Architecture, latency: Latency | None) -> None:
        """Raise :class:`UserError` when the start is within the limits already.

        Args:
            start: its name.
            network: at the size of the data.
            latency: its latency, where milliseconds are limited.
        """
        from evaluators.costs.table import CostTable
        from search.config.limits import Limit

        cost = CostTable().cost(network)
        known = {"macs": cost.macs, "params": cost.params, "latency_ms": latency.ms if latency is not None else 0}
        if not any(
            self.is_share(name) or known[name] > Limit.read(name, text).resolve(0)
            for name, text in self.written.items()
        ):
            told = ", ".join(f"{name} {known[name]:,.4g}" for name in self.written)
            raise UserError(f"{start}: is within these limits already ({told}): nothing is to be made lighter")

    def budgets(self, latency: Latency | None) -> dict[str, str | float]:
        """Give the section of a run file; ``latency`` is the start's, where a share of it is asked for."""
        found: dict[str, str | float] = {}
        if any(self.is_share(name) for name in self.written if name != "latency_ms"):
            found["baseline"] = START
        for name, text in self.written.items():
            if name == "latency_ms" and self.is_share(name):
                assert latency is not None
                found[name] = float(f"{latency.ms * float(text.strip().removesuffix('%')) / 100:.4g}")
            else:
                found[name] = text
        return found


@dataclass(frozen=True)
class Folder:
    """A lightening's folder: set up once, then gone on with.

    Attributes:
        path: the folder.
        asked: all that decides what the search finds, by the options' names.
    """

    path: Path
    asked: dict[str, Any]

    @property
    def run_file(self) -> Path:
        return self.path / RUN

    @property
    def search(self) -> Path:
        """The search's folder."""
        return self.path / SEARCH

    def is_set_up(self) -> bool:
        """Tell whether its files were written before for what is asked now; until the search began that may change.

        :class:`UserError` when a search was begun for something else, or it is another folder that is not empty.
        """
        from boostformer.files import read_json
        from results.storage.location import is_run
        from search.config.experiment import difference

        file = self.path / ASKED
        if not file.is_file():
            others = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
            if foreign := {name for name in others if not name.startswith(".")} - {RUN, SPACE, START}:
                raise UserError(f"{self.path}: holds other files ({min(foreign)}); choose another --out")
            return False
        known = read_json(file)
        if not isinstance(known, dict) or known.get("version") != VERSION or not isinstance(known.get("asked"), dict):
            raise UserError(f"{file}: not written by this version; choose another --out")
        differs = difference(known["asked"], self.asked)
        if differs and is_run(self.search):
            raise UserError(f"{self.path}: was begun with other options: {differs}; choose another --out")
        return not differs

    def write(self, run: str, space: str | None) -> None:
        """Write its files, on which the search is run.

        Args:
            run: text of the run file.
            space: text of the space file, if there is to be one.
        """
        from boostformer.files import replacing

        asked = json.dumps({"version": VERSION, "asked": self.asked}, indent=2) + "\n"
        texts = ({SPACE: space} if space is not None else {}) | {RUN: run, ASKED: asked}
        for name, text in texts.items():  # the last one tells that all are there
            with replacing(self.path / name, parents=True) as part:
                part.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Wish:
    """What is to be made lighter, and how the search for it goes.

    Attributes:
        start: folder of the trained network.
        config: what it says of itself, at the size of the data.
        data: to train and score on.
        limits: of what is searched.
        device: where latency is had.
        space: a shipped space or a file instead of the space around the network.
        trial: changes of the short training that scores a network.
        trials: networks to try in all.
        seed: of the search.
        screen: networks to see for some steps first; None for as many as usual.
    """

    start: Path
    config: Config
    data: DataConfig
    limits: Limits
    device: str | None
    space: str | None
    trial: Mapping[str, int]
    trials: int
    seed: int
    screen: int | None = None

    def asked(self) -> dict[str, Any]:
        """Give, by the options' names, all that decides what the search finds."""
        named = {option[2:]: self.limits.written.get(name) for name, option in LIMITED.items()}
        return {
            "start": self.config.weights_sha256,
            "data": self.data.model_dump(mode="json", exclude_defaults=True),
            **named,
            "device": self.device,
            "space": self.space,
            "trial-iterations": self.trial.get("iterations"),
            "batch-size": self.trial.get("batch_size"),
            "seed": self.seed,
            "screen": self.screen,
        }


def write_files(folder: Folder, wish: Wish) -> None:
    """Set a lightening up: measure the start's latency where a share of it is asked for, and write the files.

    :class:`UserError` when the start is within the limits already, or the space cannot be read or made.
    """
    from search.cli.side_by_side import latencies
    from search_space.writer import flow

    limited = wish.limits.written
    latency = latencies({START: wish.config}, wish.device)[START] if "latency_ms" in limited else None
    wish.limits.check(str(wish.start), wish.config.architecture, latency)
    height, width = wish.data.size
    remarks = {
        "space": "the networks: an own space file, or the name of a shipped space",
        "objectives": f"the best within the budgets; [miou, {', '.join(limited)}] seeks ever lighter ones as well",
    }
    if latency is not None:
        remarks["budgets"] = f"the start takes {latency.ms:.4g} ms ({latency.provenance})"
    data = wish.data.model_dump(mode="json", exclude_defaults=True)
    sections: dict[str, Any] = {
        "space": wish.space if _is_shipped(wish.space) else SPACE,
        "data": data | {"size": f"{height}x{width}"},
        "objectives": ["miou"],
        "budgets": wish.limits.budgets(latency),
        "latency": {"device": wish.device} if latency is not None else None,
        "proxy": dict(wish.trial),
        "search": {"start": str(wish.start.resolve()), "trials": wish.trials, "seed": wish.seed}
        | ({"screen": wish.screen} if wish.screen is not None else {}),
    }
    lines = [
        "# Written by `boostformer lighten`, which goes on with it as it stands; it may be changed until the search",
        f"# begins. Without lighten: boostformer search {RUN} --out {SEARCH}",
    ]
    for name, section in sections.items():
        if section:
            lines += [f"# {remark}" for remark in filter(None, [remarks.get(name)])] + [f"{name}: {flow(section)}"]
    folder.write("\n".join(lines) + "\n", _space_text(wish))


def _is_shipped(space: str | None) -> bool:
    from search_space import shipped_spaces

    return space in shipped_spaces()


def _space_text(wish: Wish) -> str | None:
    """Give the text of the space file; None for a shipped space."""
    from boostformer.files import read_text
    from search.cli.output import about_option
    from search_space import read_space, space_around, space_to_yaml

    if wish.space is not None:
        with about_option("--space"):
            read_space(wish.space)  # for what is wrong with it
            return None if _is_shipped(wish.space) else read_text(wish.space)
    arch = wish.config.architecture
    found = space_around(arch)
    name, count = wish.start.resolve().name, f"{found.count:.2g} networks"
    return space_to_yaml(found, (f"Around {name} ({arch.id}): what it has, and lighter alternatives; {count}.",))
