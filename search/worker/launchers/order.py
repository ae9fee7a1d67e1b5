"""`Order`: what a launcher is asked for, whoever carries it out: a run or a training, how many workers, their needs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from boostformer.errors import UserError, nearest, short
from boostformer.yaml_models import worded
from results.storage.location import Database, Journal, storage_of

_UNITS = {"M": 1, "G": 1024, "T": 1024**2}
MOST = 10_000


@dataclass(frozen=True)
class Workers:
    """How many workers: at least so many, and up to ``most`` where the engine has room for them."""

    least: int
    most: int

    @classmethod
    def read(cls, text: str) -> Workers:
        """Read ``8`` or ``2:32``; :class:`UserError` when it is neither."""
        found = re.fullmatch(r"(\d{1,6})(?::(\d{1,6}))?", text.strip())
        least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= least <= most <= MOST:
            raise UserError(f"--workers {short(text)}: allowed: a number such as 8, or a range such as 2:32, to {MOST}")
        return cls(least, most)

    @property
    def is_range(self) -> bool:
        return self.least < self.most

    def __str__(self) -> str:
        return f"{self.least}:{self.most}" if self.is_range else str(self.least)


@dataclass(frozen=True)
class Needs:
    """What one worker has for itself; None leaves it to the engine.

    Attributes:
        cores: processors, which are also its threads.
        gpus: number of GPUs; a share of one, such as 0.5, where the engine can.
        memory: megabytes.
    """

    cores: int | None = None
    gpus: float = 0.0
    memory: int | None = None

    @property
    def whole_gpus(self) -> int:
        """The number of GPUs for an engine that shares none; :class:`UserError` for a share of one."""
        if self.gpus != int(self.gpus):
            raise UserError(f"--gpus {self.gpus:g}: only --on ray gives a worker a share of a GPU; allowed: 0, 1, …")
        return int(self.gpus)


def read_memory(text: str) -> int:
    """Read an amount of memory, ``512M``, ``8G`` or ``1T``, as megabytes; :class:`UserError` when it is none."""
    found = re.fullmatch(r"(\d{1,9})([MGT])B?", text.strip(), re.IGNORECASE)
    if found is None or int(found[1]) == 0:
        raise UserError(f"--memory {short(text)}: allowed: a number with its unit, such as 512M or 8G")
    return int(found[1]) * _UNITS[found[2].upper()]


@dataclass(frozen=True)
class Order:
    """What a launcher is asked for.

    Attributes:
        run_dir: the run's folder, absolute; of a training its checkpoint's.
        workers: how many.
        needs: of each.
        data: where the images are on the machines of the workers; None where the run says.
        options: what only this engine knows, by name, as the user wrote it.
        training: the command of one training, such as ``("train", ARCH, "--out", CKPT)``, whose processes the workers
            then are; None for a search, each of whose workers trains by itself.
    """

    run_dir: Path
    workers: Workers = Workers(1, 1)
    needs: Needs = Needs()
    data: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    training: tuple[str, ...] | None = None

    @property
    def where(self) -> Journal | Database:
        """Where the run's study is kept."""
        return storage_of(self.run_dir)

    @property
    def database(self) -> Database:
        """The run's database; :class:`UserError` for a run in a file, which workers elsewhere cannot share."""
        where = self.where
        if not isinstance(where, Database):
            raise UserError(f"{self.run_dir}: is kept in a file; for workers on other machines search with --storage")
        return where

    @property
    def name(self) -> str:
        """The name under which an engine finds the order's workers again, from any folder and any machine.

        It is made of the study and where it is kept, or of the checkpoint's folder: lower-case letters, digits and
        dashes, at most 50 characters, beginning and ending with a letter or digit.
        """
        where = self.where if self.training is None else None
        if isinstance(where, Database):
            called, key = where.study, f"{where.url} {where.study}"
        else:
            called, key = self.run_dir.name, str(self.run_dir)
        plain = re.sub(r"[^a-z0-9]+", "-", called.lower())[:28].strip("-") or "run"
        kind = "search" if self.training is None else "train"
        return f"{kind}-{plain}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


class Options(BaseModel):
    """Base class of an engine's options, each written as ``--option NAME=VALUE``; fields have descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Read = TypeVar("Read", bound=Options)


def read_options(model: type[Read], engine: str, options: Mapping[str, str]) -> Read:
    """Read an engine's options; :class:`UserError` for a name that it does not have, or a value that is not allowed."""
    for name in options:
        if name not in model.model_fields:
            allowed = nearest(name, model.model_fields) if model.model_fields else "it has none"
            raise UserError(f"--option {name}: --on {engine} has no such option; {allowed}")
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        raise UserError(f"--option {name}={options.get(name, '')}: {worded(first)}") from None
