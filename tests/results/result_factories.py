"""Records made by hand, and run directories written as a search writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna

from boostformer.architecture import Architecture, BlockSpec, Decoder, Stage
from results.schema import Record
from results.storage.location import Journal

OBJECTIVES = ["miou", "macs", "params"]


def architecture(width: int = 32) -> Architecture:
    def stage(factor: int, mixer: BlockSpec) -> Stage:
        ffn = BlockSpec.of("mix_ffn", ratio=4)
        return Stage(BlockSpec.of("overlap_conv", kernel=3), factor * width, 2, mixer, ffn)

    attention = BlockSpec.of("efficient_attention", heads=1, reduction=4)
    stages = (
        stage(1, attention),
        stage(2, attention),
        stage(4, BlockSpec.of("pooling")),
        stage(8, attention),
    )
    return Architecture(stages, Decoder(BlockSpec.of("weighted_sum", normalised=True), 128), 7, (128, 192))


def make_record(trial: int = 0, **changes: Any) -> Record:
    network = architecture(32 + trial)
    plain: dict[str, Any] = {
        "id": network.id,
        "state": "finished",
        "architecture": network.to_dict(),
        "miou": 0.4,
        "params": 1_000_000,
        "macs": 500_000_000,
        "conv_linear_macs": 400_000_000,
        "attention_macs": 100_000_000,
        "feasible": True,
        "seed": 3,
        "seconds": 12.5,
        "provenance": "proxy training, 300 iterations",
    }
    return Record(trial=trial, **(plain | changes))


def write_record(study: optuna.Study, record: Record) -> None:
    """Stores ``record`` in ``study`` as its next trial, one operation after the other."""
    trial = study.ask()
    assert trial.number == record.trial
    for key, value in record.attributes().items():
        trial.set_user_attr(key, value)
    if record.state == "finished":
        study.tell(trial, [record.miou, record.macs, record.params])
    elif record.state == "failed":
        study.tell(trial, state=optuna.trial.TrialState.FAIL)


def create_run(folder: Path) -> optuna.Study:
    study = optuna.create_study(
        study_name=Journal.study,
        storage=Journal(folder).open(create=True),
        directions=["maximize", "minimize", "minimize"],
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    study.set_user_attr("objectives", OBJECTIVES)
    study.set_user_attr("budgets", {"params": 3_000_000, "macs": 10**9})
    study.set_user_attr("references", [{"name": "segformer_b0", "params": 3_714_658, "macs": 10**9}])
    study.set_user_attr("config", {"space": "tiny"})
    return study
