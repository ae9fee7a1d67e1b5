"""A training in full, from the line that says what it costs to the scored checkpoint."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boostformer.shown import number_of
from search.cli.data_summary import say_data
from search.cli.output import about_option, next_step, note
from search.cli.sitting import carried_on, claim, first_goes_on, sitting

BEST = "best"
"""Folder, in that of the checkpoint, of the best network by validation mIoU."""
CHOSEN = "by mIoU on the validation images, where it seems better than it is elsewhere"
CURVES, SAMPLES = "curves.png", "samples.png"
"""Pictures in the folder of a checkpoint: the course of its training, and what the network sees."""
LEAST_BETWEEN = 200
"""Iterations between validations, unless the recipe says otherwise."""

if TYPE_CHECKING:
    from boostformer.architecture import Architecture
    from boostformer.data import DataConfig, SegmentationSplit
    from boostformer.model import BoostFormer
    from boostformer.start import Trained
    from boostformer.training import Metrics, Recipe
    from boostformer.training.taught import Teaching
    from boostformer.training.validation import Best, Validation
    from evaluators.proxy import Proxy


@dataclass(frozen=True)
class FullTraining:
    """All that decides a training in full.

    Attributes:
        architecture: the network, for whatever classes.
        data: images to train and to score on.
        recipe: how to train.
        out: folder of the checkpoint.
        init: trained weights to start from, or where they are read (see :func:`boostformer.start.read_trained`); None
            for random ones.
        origin: what the checkpoint keeps of where the network came from.
        remark: what else is to be said before it begins.
        teacher: what to learn from beside the labels, if anything (:func:`boostformer.teachers.opening.open_teacher`).
        unlabelled: folder of images without masks, which are learnt from the teacher alone.
        trackers: what is told of the training's course (see :data:`boostformer.training.log.TRACKERS`).
    """

    architecture: Architecture
    data: DataConfig
    recipe: Recipe
    out: Path
    init: str | Trained | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    remark: str | None = None
    teacher: str | None = None
    unlabelled: Path | None = None
    trackers: Sequence[str] = ()

    def run(self, searched: dict[str, str] | None = None) -> tuple[Metrics, dict[str, str]]:
        """Train, write the checkpoint and score it; give the scores, and the digests of the data.

        ``searched`` are the digests of the data as a search found them, which should be these.
        """
        from boostformer.data.cache import data_cache
        from boostformer.predict import card_picture
        from boostformer.training import evaluate, train
        from boostformer.training.threads import using
        from boostformer.training.validation import Validation
        from evaluators.proxy import IMAGES_AND_MASKS, Proxy
        from search.cli.teaching import open_teaching

        recipe = carried_on(self.out, watched(self.recipe))
        claim(self.out, recipe)
        if found := self.origin.get("searched"):
            note(f"trial {found['trial']}, {found['picked']}, with a proxy mIoU of {found['proxy_miou']:.2%}")
        proxy = Proxy(self.data, recipe, data_cache())
        say_data(proxy.training)
        if searched is not None and searched != proxy.content:
            where = self.data.root or self.data.kind
            note(f"{where}: images or masks have changed since the search; this training's mIoU does not compare")
        teaching = open_teaching(self.teacher, self.unlabelled, self.data, proxy.training, self.recipe, data_cache())
        model, start = self._network(proxy)
        note(_summary(proxy, model.architecture, teaching))
        for said in filter(None, (self.remark, *proxy.remarks())):
            note(said)
        validation = Validation(proxy.validation, self.data.size, recipe)
        with sitting(self.out, recipe, self.trackers) as (state, live):
            about = {
                "architecture": model.architecture.id,
                "data": self.data.model_dump(mode="json", exclude={"root"}),
                IMAGES_AND_MASKS: proxy.content["training"],
                "init": start.digest if start else None,
            }
            report = train(
                model,
                proxy.training,
                recipe,
                size=self.data.size,
                says=note,
                resume_dir=state,
                about=about,
                teaching=teaching,
                validation=validation,
                log=live,
            )
            first_goes_on()
            if report.iterations < recipe.iterations:
                why = f"{recipe.patience} validations without a better one"
                note(f"ended early after iteration {report.iterations}: {why}")
            model.labels = proxy.labels
            made = self._provenance(model.architecture, proxy, start, teaching, recipe)
            model.provenance = made | {"training": asdict(report) | _torch()}
            model.save_pretrained(self.out)
            with using(report.threads):
                metrics = evaluate(model, proxy.validation, size=self.data.size)
            model.provenance["metrics"] = {"split": "validation", **asdict(metrics)}
            model.picture = card_picture(model, proxy.validation)
            model.save_pretrained(self.out)
            live.end(metrics)
            validation.take(report.iterations, metrics, model)
            curves = draw_history(self.out)
            best = save_best(model, validation, proxy.validation, self.out / BEST, curves)
            keep_pictures(self.out, model, proxy.validation, curves)
        images = f"{number_of(metrics.images, 'image')}; saved in {self.out}"
        note(f"mIoU {metrics.miou:.2%}, accuracy {metrics.accuracy:.2%} on {images}")
        found = f"mIoU {best.metrics.miou:.2%} after iteration {best.iteration}"
        note(f"best of the validations: {found}; saved in {self.out / BEST}")
        ours = shlex.quote(str(self.out / BEST))
        next_step(f"boostformer evaluate {ours}", f"boostformer export {ours} --out net.onnx")
        return metrics, proxy.content

    def how(self, content: dict[str, str]) -> str:
        """Word the provenance of the score: trainings of equal length are comparable where it is equal."""
        (height, width), data, recipe = self.data.size, self.data, self.recipe
        digests = ", ".join(digest[:8] for digest in content.values())
        name = f"data {digests}" if data.root else data.kind  # not where they lie
        changed = recipe.unusual(taught=self.teacher is not None)
        taught = f", taught by {self.teacher}" if self.teacher else ""
        taught += f" on {self.unlabelled.name} too" if self.unlabelled else ""
        others = f", {', '.join(f'{key} {value}' for key, value in changed.items())}" if changed else ""
        start = self.init if isinstance(self.init, str | None) else self.init.id
        return (
            f"retrained on {name} at {height}x{width}, {recipe.batch_size} images a step, rate {recipe.lr:g}, "
            f"{recipe.schedule}, {recipe.precision}, from {start or 'scratch'}{taught}{others}"
        )

    def _network(self, proxy: Proxy) -> tuple[BoostFormer, Trained | None]:
        import torch

        from boostformer.start import read_trained, start_from

        torch.manual_seed(self.recipe.seed)
        own = self.architecture.replace(classes=len(proxy.labels), size=self.data.size, bands=proxy.bands)
        model = proxy.network(own, self.recipe)
        if self.init is None:
            return model, None
        trained = self.init
        if isinstance(trained, str):
            with about_option("--init"):
                trained = read_trained(trained)
        note(start_from(model, trained, proxy.labels))
        return model, trained

    def _provenance(
        self,
        architecture: Architecture,
        proxy: Proxy,
        start: Trained | None,
        teaching: Teaching | None,
        recipe: Recipe,
    ) -> dict[str, Any]:
        from evaluators.costs.table import costs_of

        unlabelled = teaching.unlabelled if teaching else None
        return {
            **self.origin,
            "data": self.data.model_dump(mode="json"),
            "content": proxy.content,
            "data_summary": summary.to_dict() if (summary := proxy.training.summary) is not None else None,
            "recipe": recipe.model_dump(mode="json"),
            "costs": costs_of(architecture),
            "initialised_from": {"id": start.id, "sha256": start.digest, "licence": start.licence} if start else None,
            "teacher": teaching.teacher.identity.to_dict() if teaching else None,
            "unlabelled": {"images": len(unlabelled), "content": unlabelled.content()} if unlabelled else None,
        }


def watched(recipe: Recipe) -> Recipe:
    """Give ``recipe`` with validations on the way: where it says nothing of them, at every tenth, of 200 or more."""
    if recipe.validate_every is not None:
        return recipe
    return recipe.model_copy(update={"validate_every": max(LEAST_BETWEEN, recipe.iterations // 10)})


def save_best(
    model: BoostFormer, validation: Validation, split: SegmentationSplit, folder: Path, curves: bytes | None
) -> Best:
    """Write the best network of a training as a checkpoint, with pictures from ``split`` and the training's ``curves``.

    ``model`` is the last one, which stays as it is.
    """
    from boostformer.model import build
    from boostformer.predict import card_picture

    best = validation.best
    assert best is not None
    network = build(model.architecture)
    network.load_state_dict(validation.weights)
    network.labels, network.normalisation = model.labels, model.normalisation
    network.provenance = model.provenance | {
        "metrics": {"split": "validation", **asdict(best.metrics)},
        "best": {
            "iteration": best.iteration,
            "chosen": "by mIoU on the validation images, where it seems better than it is",
        },
    }
    network.picture = card_picture(network.eval(), split)
    network.save_pretrained(folder)
    keep_pictures(folder, network, split, curves)
    return best


def draw_history(training: Path) -> bytes | None:
    """Draw the curves of a training from the history in its folder, as a PNG; None where that has no line."""
    from results.history import read_history
    from results.report.draw_curves import draw_curves

    rows = read_history(training)
    return draw_curves(rows, training.resolve().name) if rows else None


def keep_pictures(folder: Path, model: BoostFormer, split: SegmentationSplit, curves: bytes | None) -> None:
    """Write what a network makes of some images of ``split``, and its training's curves, beside its checkpoint."""
    from boostformer.files import replacing
    from boostformer.predict import samples_picture

    pictures = {SAMPLES: samples_picture(model, split)} | ({CURVES: curves} if curves is not None else {})
    for name, content in pictures.items():
        with replacing(folder / name) as part:
            part.write_bytes(content)


def _torch() -> dict[str, str]:
    import torch

    return {"torch": torch.__version__}


def _summary(proxy: Proxy, architecture: Architecture, teaching: Teaching | None) -> str:
    """Word what is trained, what it costs once it is deployed, and how long the training will take."""
    from evaluators.costs.table import CostTable
    from results.summary import human
    from search.cli.teaching import cost_share

    trained, deployed = CostTable(deployed=False).cost(architecture), CostTable().cost(architecture)
    (height, width), recipe = architecture.size, proxy.recipes[0]
    folded = ""
    if deployed != trained:
        folded = f" ({human('params', deployed.params)} and {human('macs', deployed.macs)} once it is folded)"
    share = cost_share(teaching.teacher, trained.macs) if teaching else None
    return (
        f"{architecture.id}: {human('params', trained.params)} params, {human('macs', trained.macs)} MACs{folded} at "
        f"{height}x{width}; {number_of(recipe.iterations, 'iteration')} of {number_of(recipe.batch_size, 'image')}, "
        f"{_time(proxy, architecture, teaching)}{f'; {share}' if share else ''}"
    )


def _time(proxy: Proxy, architecture: Architecture, teaching: Teaching | None) -> str:
    """Estimate a whole training's time on this machine from a few measured steps."""
    from boostformer.training import TrainingFailure
    from search.worker.progress import duration

    try:
        seconds = proxy.estimate_seconds(architecture, teaching=teaching)
        return f"about {duration(seconds)} in all (an estimate, from a few steps)"
    except TrainingFailure as failure:
        return f"for a time that is unknown: {failure}"
