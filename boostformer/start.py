"""Starting a training from trained weights: all that fits is taken, and what did not is said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from torch import Tensor

from boostformer.architecture import Architecture
from boostformer.errors import UserError
from boostformer.files import is_folder
from boostformer.inheritance import Inherited, inherit
from boostformer.model import Network, import_checkpoint
from boostformer.names import are_numbers
from boostformer.slices import overlaid
from boostformer.weights import checkpoint, importers
from boostformer.weights.licence import licence_of

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = [checkpoint.WEIGHTS, checkpoint.CONFIG, "pytorch_model.bin", "README.md"]
_CLASSIFIER = "decoder.classifier."
_LISTED = 6
LEAST = 0.05
"""Share of the encoder that must fit, for less is hardly what was meant."""


class LostWeights(Exception):
    """Weights that a training was to start from are not there any more, or damaged; says which."""


@dataclass(frozen=True)
class Trained:
    """Weights of a trained network by our names.

    ``id`` says where they came from, ``digest`` which they are, ``licence`` what their card says of it, if anything.
    """

    id: str
    digest: str
    weights: dict[str, Tensor]
    labels: list[str]
    architecture: Architecture
    licence: str | None = None


def find_folder(source: str | Path, more: Sequence[str] = ()) -> Path:
    """Give the folder that ``source`` is, or where the files of that repository of the hub lie once they are loaded.

    ``more`` are patterns of files that are loaded beside weights, config and card. UserError when it is neither, or
    cannot be loaded.
    """
    folder = Path(source).expanduser()
    if is_folder(folder):
        return folder
    if not _REPOSITORY.fullmatch(str(source)):
        raise UserError(f"{source}: no such folder, nor the name of a repository of the hub (OWNER/NAME)")
    try:
        return Path(snapshot_download(str(source), allow_patterns=[*_FILES, *more]))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"{source}: no such folder, and the hub has no such repository ({error})") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{source}: no such folder, and the hub cannot be reached ({reason})") from None


def read_trained(source: str | Path) -> Trained:
    """Read a checkpoint of ours of either kind, or transformers' SegFormer or MiT; UserError when it is none."""
    folder = find_folder(source)
    if checkpoint.is_ours(folder):
        config, weights = checkpoint.read_any(folder)
        own = config.architecture
        return Trained(str(source), config.weights_sha256, weights, config.labels, own, licence_of(folder))
    notes: list[str] = []
    model = import_checkpoint(folder, notes)
    has_decoder = importers.read(folder).has_decoder
    found = {name: value for name, value in model.state_dict().items() if has_decoder or name.startswith("encoder.")}
    digest = checkpoint.sha256(importers.weights_file(folder))
    return Trained(str(source), digest, found, model.labels, model.architecture, licence_of(folder))


def start_from(model: Network, trained: Trained, labels: list[str]) -> str:
    """Let ``model`` inherit from a trained network, and say in a line what was taken and what not.

    See :func:`boostformer.inheritance.inherit`. The classifier's rows go by the classes' names where both sides have
    names (``labels`` are those of ``model``), and as they are where one has none. UserError when next to nothing of the
    encoder is taken: then it is no start.
    """
    found = _inherited(model, trained, labels)
    whole = {name: value.numel() for name, value in found.state.items()}
    fitting, encoder = (
        sum(count for name, count in counts.items() if name.startswith("encoder.")) for counts in (found.taken, whole)
    )
    if fitting < LEAST * encoder:
        raise UserError(
            f"{trained.id}: {fitting / encoder:.1%} of the encoder's numbers can be taken, at least {LEAST:.0%} are "
            "needed to start from; is it another network?"
        )
    model.load_state_dict(found.state)
    shared = sum(label in trained.labels for label in labels)
    has_rows = any(name.startswith(_CLASSIFIER) for name in found.taken)
    remark = f"; {shared} of {len(labels)} classes known by name" if has_rows and trained.labels != labels else ""
    said = f"starts from {trained.id}: {found.share:.1%} of its numbers{_by_part(found.taken, whole)}{remark}"
    partly = {_group(name) for name, count in found.taken.items() if count < whole[name]}
    fresh_parts = {_group(name) for name in whole if name not in found.taken}
    if partly:
        said += f"; in part, by overlapping slices: {_listed(partly)}"
    if fresh_parts:
        said += f"; fresh: {_listed(fresh_parts)}"
    return said


def take_over(model: Network, trained: Trained, labels: list[str]) -> float:
    """Let ``model`` inherit as :func:`start_from` does, be it ever so little; give the share of its numbers taken."""
    found = _inherited(model, trained, labels)
    model.load_state_dict(found.state)
    return found.share


def _inherited(model: Network, trained: Trained, labels: list[str]) -> Inherited:
    found = inherit(model, trained.architecture, trained.weights)
    for name in [name for name in found.state if name.startswith(_CLASSIFIER)]:
        fresh, theirs = model.state_dict()[name], trained.weights.get(name)
        rows = _rows(theirs, fresh, trained.labels, labels) if theirs is not None else None
        found.state[name] = fresh if rows is None else rows[0]
        found.taken.pop(name, None)
        if rows is not None:
            found.taken[name] = rows[1]
    return found


def _by_part(taken: dict[str, int], whole: dict[str, int]) -> str:
    """Say what share of each part's numbers is taken; nothing where it is all."""
    shares: dict[str, tuple[int, int]] = {}
    for name, count in whole.items():
        parts = name.split(".")
        part = f"stage {int(parts[2]) + 1}" if parts[:2] == ["encoder", "stages"] else parts[parts[0] == "encoder"]
        before = shares.get(part, (0, 0))
        shares[part] = before[0] + taken.get(name, 0), before[1] + count
    if all(some == every for some, every in shares.values()):
        return ""
    return " (" + ", ".join(f"{part} {some / every:.0%}" for part, (some, every) in shares.items()) + ")"


def _listed(groups: set[str]) -> str:
    more = f" and {len(groups) - _LISTED} more" if len(groups) > _LISTED else ""
    return ", ".join(sorted(groups)[:_LISTED]) + more


def _rows(theirs: Tensor, own: Tensor, their_labels: list[str], labels: list[str]) -> tuple[Tensor, int] | None:
    """Give the classifier's tensor with the rows of known classes, and how many numbers are taken; None for none."""
    if are_numbers(their_labels) or are_numbers(labels) or their_labels == labels:
        return overlaid(own, theirs) if len(theirs) == len(own) else None
    found = {label: number for number, label in enumerate(their_labels)}
    known = [number for number, label in enumerate(labels) if label in found]
    laid = overlaid(own[known], theirs[[found[labels[number]] for number in known]]) if known else None
    if laid is None:
        return None
    rows = own.clone()
    rows[known] = laid[0]
    return rows, laid[1]


def _group(name: str) -> str:
    """The part of the network that a weight belongs to: a stage's embed, a layer's block, the decoder's step."""
    parts = name.split(".")
    depth = 4 if parts[:2] == ["encoder", "stages"] and parts[3] == "embed" else 6 if parts[0] == "encoder" else 2
    return ".".join(parts[:-1][:depth])
