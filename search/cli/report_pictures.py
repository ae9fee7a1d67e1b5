"""Pictures of a report: samples of the data, and what trained networks of a run make of validation images."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostformer.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from boostformer.data import SegmentationSplit
    from boostformer.model import BoostFormer
    from evaluators.proxy import Proxy
    from results.run import Run
    from results.trial import Trial

SAMPLES, PREDICTED, NETWORKS = 8, 4, 4
"""How many pictures there are of the data, of predictions, and networks that predict."""
SIDE = 224
"""Pixels of a picture's longer side."""
QUALITY = 88
_LOOKED_AT = 200
"""Folders of each place that are looked at for checkpoints."""


@dataclass(frozen=True)
class Pictures:
    """Samples of the data, predictions of networks, and in words why there are none."""

    samples: Sequence[dict[str, Any]] = ()
    predictions: dict[str, Any] | None = None
    remark: str = ""


def pictures_of(run_dir: Path, run: Run, picks: Sequence[Trial]) -> Pictures:
    """Draw the data of a run, and what those of the ``picks`` make of them whose weights are at hand."""
    from search.config.opening import OpenExperiment
    from search.study.folder import read_experiment
    from search.study.places import require_data

    try:
        opened = OpenExperiment(read_experiment(run_dir))
        require_data(opened)
        proxy = opened.proxy
    except UserError as error:
        return Pictures(remark=f"No pictures: {error}.")
    samples = [
        _sample(split, where, index)
        for split, where in ((proxy.training, "training"), (proxy.validation, "validation"))
        for index in _spread(len(split), SAMPLES // 2)
    ]
    networks = list(_networks(run_dir, run, picks, proxy))
    return Pictures(samples, _predictions(proxy.validation, networks) if networks else None)


def _networks(run_dir: Path, run: Run, picks: Sequence[Trial], proxy: Proxy) -> Iterator[tuple[str, str, BoostFormer]]:
    """Give name, origin and network of the picks whose weights are at hand: trained in full, or kept by the search."""
    from boostformer.model import BoostFormer, build
    from search.study.weights import weights_of

    found = checkpoints_of(run_dir, run)
    for trial in picks[:NETWORKS]:
        try:
            if (folder := found.get(trial.id)) is not None:
                yield f"trial {trial.number}", f"trained in full: {folder.name}", BoostFormer.load(folder)
                continue
            trained = weights_of(run_dir, trial)
            model = build(trained.architecture)
            model.load_state_dict(trained.weights)
            model.normalisation = proxy.normalisation
            yield f"trial {trial.number}", f"as the search left it, {trial.iterations} iterations", model.eval()
        except (UserError, RuntimeError):  # its weights are gone, or of another structure
            continue


def checkpoints_of(run_dir: Path, run: Run) -> dict[str, Path]:
    """Find checkpoints of a run's networks, by the network's id: in its folder, beside it, and where one works."""
    from boostformer.weights import checkpoint

    known = {trial.id for trial in run.trials}
    found: dict[str, Path] = {}
    here = run_dir.resolve()
    for folder in [*_folders(here), *_folders(here.parent), *_folders(Path.cwd())]:
        if not checkpoint.is_ours(folder):
            continue
        try:
            config = checkpoint.read_config(folder)
        except UserError:
            continue
        searched = config.provenance.get("searched")
        if not isinstance(searched, dict) or searched.get("id") not in known:
            continue
        if config.provenance.get("content") != run.config.get("content"):  # runs may be renamed, data may not differ
            continue
        if "metrics" in config.provenance and config.labels == list(run.config.get("labels", [])):
            found.setdefault(searched["id"], folder)
    return found


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(entry for entry in parent.iterdir() if entry.is_dir() and not entry.is_symlink())[:_LOOKED_AT]
    except OSError:
        return []


def _predictions(split: SegmentationSplit, networks: Sequence[tuple[str, str, BoostFormer]]) -> dict[str, Any]:
    import numpy as np

    from boostformer.overlay import palette, shown
    from boostformer.predict import predict_array

    rows, classes = [], len(split.labels)
    occurring: set[int] = set()
    for index in _spread(len(split), PREDICTED):
        image, label = split.pair(index)
        predicted = [predict_array(model, image, split.size, split.fit, split.overlap) for _, _, model in networks]
        occurring |= {number for part in (label, *predicted) for number in np.unique(part).tolist() if number < classes}
        drawn = [shown(image), *(_drawn(image, part, classes) for part in (label, *predicted))]
        rows.append({"name": split.name(index), "images": [encoded(one) for one in drawn]})
    colours = ["#" + bytes(colour).hex() for colour in palette(classes)]
    return {
        "networks": [{"name": name, "about": about} for name, about, _ in networks],
        "rows": rows,
        "classes": [[split.labels[number], colours[number]] for number in sorted(occurring)],
    }


def _drawn(image: NDArray[np.uint8], numbers: NDArray[Any], classes: int) -> NDArray[np.uint8]:
    from boostformer.data.split import resize_label
    from boostformer.overlay import by_class, shown

    fitted = numbers if numbers.shape == image.shape[:2] else resize_label(numbers, image.shape[:2])
    return by_class(shown(image), fitted, classes)


def _sample(split: SegmentationSplit, where: str, index: int) -> dict[str, Any]:
    import numpy as np

    from boostformer.overlay import shown

    image, label = split.pair(index)
    both = np.concatenate([shown(image), _drawn(image, label, len(split.labels))], axis=1)
    name = split.name(index)
    return {"name": f"{where}: {name}", "image": encoded(both, 2 * SIDE), "alt": f"{name} beside its classes in colour"}


def encoded(pixels: NDArray[np.uint8], side: int = SIDE) -> str:
    """Write a picture (h, w, 3), made smaller where it is larger than ``side``, as a ``data:`` address."""
    from PIL import Image

    picture, content = Image.fromarray(pixels), io.BytesIO()
    picture.thumbnail((side, side))
    picture.save(content, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


def _spread(length: int, wanted: int) -> list[int]:
    """Choose places at even distances."""
    number = min(length, wanted)
    return [place * length // number for place in range(number)]
