"""Trials made by hand, and run directories written as a search writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna

from boostformer.architecture import Architecture, BlockSpec, Decoder, Stage
from boostformer.figures import Figure, Latency, Provenance
from results.schema import FORMAT_VERSION, frozen_trial
from results.storage.location import Journal
from results.trial import COUNTED, Status, Trial, TrialKey

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


def make_trial(number: int = 0, **changes: Any) -> Trial:
    """A finished trial; ``changes`` are its fields, or ``id``, ``rung``, ``seed`` of its key, or ``latency_ms``."""
    network = architecture(32 + number)
    key = TrialKey(changes.pop("id", network.id), changes.pop("rung", 0), changes.pop("seed", 3))
    if "latency_ms" in changes:
        ms = changes.pop("latency_ms")
        changes["latency"] = None if ms is None else make_latency(ms)
    plain: dict[str, Any] = {
        "status": Status.FINISHED,
        "architecture": network.to_dict(),
        "miou": 0.4,
        **dict.fromkeys(COUNTED, 1),
        "params": 1_000_000,
        "macs": 500_000_000,
        "conv_linear_macs": 400_000_000,
        "attention_macs": 100_000_000,
        "feasible": True,
        "seconds": 12.5,
        "provenance": "proxy training, 300 iterations",
    }
    if changes.get("miou", 0) is None:
        plain |= {"seconds": None, "provenance": ""}
    return Trial(number=number, key=key, **(plain | changes))


def make_latency(ms: float, device: str = "board", **changes: Any) -> Latency:
    provenance = Provenance("measured", "trtexec 8.2", device, "fp16", ("batch 1",))
    return Latency(Figure(ms, 0.9 * ms, 1.1 * ms), provenance, **changes)


def write_trial(study: optuna.Study, trial: Trial) -> None:
    """Stores ``trial`` in ``study`` as its next one."""
    assert len(study.trials) == trial.number
    study.add_trial(frozen_trial(trial, OBJECTIVES))


def create_run(folder: Path) -> optuna.Study:
    study = optuna.create_study(
        study_name=Journal.study,
        storage=Journal(folder).open(create=True),
        directions=["maximize", "minimize", "minimize"],
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    study.set_user_attr("objectives", OBJECTIVES)
    study.set_user_attr("budgets", {"params": 3_000_000, "macs": 10**9})
    study.set_user_attr("trials", 60)
    study.set_user_attr("code", {"version": "0.1.0", "fingerprint": "0" * 12})
    study.set_user_attr("references", [{"name": "segformer_b0", "params": 3_714_658, "macs": 10**9}])
    study.set_user_attr("config", {"version": FORMAT_VERSION, "space": "tiny"})
    return study
