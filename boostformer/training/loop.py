"""Training loop: one for proxies, full training and pre-training, on any device that accelerate knows."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from boostformer.data import Pictures, SegmentationSplit
from boostformer.data.normalise import normalisation_of
from boostformer.errors import UserError
from boostformer.training.accumulation import gradients
from boostformer.training.averaging import Scored
from boostformer.training.checkpointing import checkpointed_stages
from boostformer.training.course import Course
from boostformer.training.failures import LossWatch, compile_failures, memory_failures
from boostformer.training.loading import Pace, first_batch, loader, until
from boostformer.training.log import Log
from boostformer.training.recipes import Recipe, parameter_groups
from boostformer.training.recording import recorded_for, records
from boostformer.training.state import ResumableState, deferred_interrupt, signature
from boostformer.training.tasks import ClassificationTask, SegmentationTask, Task
from boostformer.training.taught import TaughtTask, Teaching
from boostformer.training.threads import choose_threads, using
from boostformer.training.together import agreed, shared_statistics
from boostformer.training.validation import Validation

Progress = Callable[[int, int, float], None]
"""Called with (iterations done, of how many, running mean of the loss)."""

Says = Callable[[str], None]
"""Called with a line for the person watching."""

_PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}

SAVE_AFTER = 60.0
"""Seconds after which a resumable state is saved, however few iterations they held."""


@dataclass(frozen=True)
class TrainingReport:
    """Course of a training that came to its end.

    ``resumed_from`` counts the iterations of earlier sittings, 0 for a fresh start; ``seconds`` are of this sitting
    alone. ``threads`` is the number of CPU threads that it computed with, None on an accelerator.
    """

    iterations: int
    resumed_from: int
    loss: float
    seconds: float
    device: str
    threads: int | None


def train(
    model: nn.Module,
    split: SegmentationSplit,
    recipe: Recipe,
    *,
    size: tuple[int, int],
    progress: Progress | None = None,
    says: Says | None = None,
    resume_dir: Path | None = None,
    about: dict[str, Any] | None = None,
    teaching: Teaching | None = None,
    validation: Validation | None = None,
    log: Log | None = None,
) -> TrainingReport:
    """Train a segmentation network in place, to the same weights whenever it is repeated with as many threads.

    With ``resume_dir`` the state is kept there every minute or ``recipe.save_every`` iterations, at the end
    and on Ctrl-C, and the same call goes on where it ended, to the same weights. With schedule "wsd" the state at
    ``recipe.trunk`` stays too, and a call for more iterations goes on from there, to the weights that it would find
    from the start.

    On a CPU it computes with ``recipe.threads``; for None, with as many as pay for this network, at most those that
    torch has (``OMP_NUM_THREADS``, else the cores). A resumed training keeps the number that it began with.

    Args:
        model: Maps float ``(B, bands, H, W)`` to logits ``(B, classes, H/4, W/4)``; its ``normalisation`` is set.
        split: Images and labels to train on.
        recipe: How to train.
        size: Height and width of the crops, in pixels.
        progress: Called after every iteration on a CPU, else after every tenth.
        says: Called with a line on what was decided at the start, for the person watching.
        resume_dir: Folder of the resumable states; without one nothing is kept.
        about: Plain values that say what else the training depends on: architecture, data, where the weights came from.
        teaching: A teacher to learn from beside the labels, by ``recipe.distillation``; it is part of ``about``.
        validation: Scores the network on the way and keeps the best one; it may end the training early.
        log: Is told how the training stands.

    Raises:
        UserError: ``resume_dir`` cannot be written, or holds states of another recipe, size, shape of weights or
            ``about`` only; or the precision is fp16 on a CPU; or the teacher does not fit the data or the recipe.
        TrainingFailure: The network or recipe cannot be trained here.
    """
    task, taught = SegmentationTask(split, size, recipe, normalisation_of(model)), {}
    if teaching is not None:
        task, taught = TaughtTask(split, size, recipe, teaching, normalisation_of(model)), teaching.about()
    known = {"size": size} | (about or {}) | taught
    return fit(model, task, recipe, progress, says, resume_dir, known, validation, log)


def pretrain(
    model: nn.Module,
    split: Pictures,
    recipe: Recipe,
    *,
    size: tuple[int, int],
    progress: Progress | None = None,
    says: Says | None = None,
    resume_dir: Path | None = None,
    about: dict[str, Any] | None = None,
    log: Log | None = None,
) -> TrainingReport:
    """Train a classifier in place; parameters and errors are those of :func:`train`.

    ``model`` maps float ``(B, 3, H, W)`` to logits ``(B, classes)``.
    """
    task = ClassificationTask(split, size, recipe)
    return fit(model, task, recipe, progress, says, resume_dir, {"size": size} | (about or {}), None, log)


@memory_failures()
def fit(
    model: nn.Module,
    task: Task,
    recipe: Recipe,
    progress: Progress | None = None,
    says: Says | None = None,
    resume_dir: Path | None = None,
    about: dict[str, Any] | None = None,
    validation: Validation | None = None,
    log: Log | None = None,
) -> TrainingReport:
    """Train ``model`` in place for ``task``; the other parameters and the errors are those of :func:`train`.

    All that is random in iteration i follows from the recipe's seed and i.
    """
    started = time.perf_counter()
    AcceleratorState._reset_state()  # else a process could not train at another precision afterwards
    accelerator = Accelerator(
        mixed_precision=_PRECISIONS[recipe.precision],
        dataloader_config=DataLoaderConfiguration(split_batches=True, non_blocking=True),
    )
    if recipe.precision == "fp16" and accelerator.device.type == "cpu":  # which it would compute in fp32
        raise UserError("precision: 'fp16' cannot be trained on a CPU, allowed here: fp32, bf16")
    log = log if accelerator.is_main_process else None
    identity = (about or {}) | {"network": signature(model), "classes": task.num_classes}
    torch.manual_seed(recipe.seed)  # what exists in training alone begins alike, whatever was drawn before
    scored = Scored(model, recipe.ema) if recipe.ema or validation is not None else None
    trained = task.trained(model)
    with (
        checkpointed_stages(model, recipe.gradient_checkpointing),
        compile_failures(recipe.compile),
        shared_statistics(trained, accelerator),
    ):
        network, optimizer = accelerator.prepare(trained, _optimizer(trained, recipe))
        try:
            if scored is not None:
                scored.to(accelerator.device)
            state = ResumableState(accelerator, resume_dir, recipe, identity)
            course = Course(LossWatch(chance=task.chance()), scored, validation)
            course.load(state)
            start = course.iteration
            network.train()
            if accelerator.device.type == "cpu":
                course.threads = course.threads or recipe.threads
                course.threads = course.threads or _measured_threads(accelerator, task, recipe, network, says)
            computed: nn.Module = torch.compile(network) if recipe.compile else network  # type: ignore[assignment]
            if records(recipe, accelerator) and not course.over:  # before others, who load, speak to the GPU
                computed = recorded_for(network, accelerator, task, recipe, says)
            batches = accelerator.prepare(loader(task, recipe, start, accelerator.device))
            read_every, pace = report_every(accelerator.device), Pace(recipe.batch_size)
            if log is not None:
                log.begin(start)
            saved_at = time.monotonic()

            def save() -> None:
                nonlocal saved_at
                if log is not None and resume_dir is not None:
                    log.keep()
                course.save(state)
                saved_at = time.monotonic()
                pace.restart()

            with using(course.threads), deferred_interrupt(resume_dir is not None) as interrupted:
                for batch in () if course.over else pace.timed(until(interrupted, batches)):
                    loss = _step(accelerator, task, recipe, computed, optimizer, batch, course.iteration)
                    done = course.advance()
                    validates = validation is not None and validation.due(done)
                    saves = done % recipe.save_every == 0 or done in (recipe.trunk, recipe.iterations)
                    reads = done % read_every == 0 or saves or validates
                    stops = False
                    if reads:
                        course.watch.see(done, accelerator.reduce(loss.detach(), "mean").item())
                        late = resume_dir is not None and time.monotonic() - saved_at > SAVE_AFTER
                        late, stops = agreed(accelerator, late, interrupted())  # all processes save or stop, or none
                        saves |= late
                        pace.measure()
                    if validates:
                        course.validate(accelerator)
                        saves |= course.over
                        pace.restart()
                    if reads and log is not None:
                        log.see(course.standing(recipe, pace, accelerator.device, validates))
                    if saves:
                        save()
                    try:
                        if reads and progress is not None and accelerator.is_main_process:
                            progress(done, recipe.iterations, course.watch.mean)
                        if stops or (accelerator.num_processes == 1 and interrupted()):
                            raise KeyboardInterrupt
                    except KeyboardInterrupt:
                        save()
                        raise
                    if course.over:
                        break
                if course.iteration < recipe.iterations and not course.over:
                    save()
                    raise KeyboardInterrupt
            if scored is not None:
                scored.finish()
        finally:
            accelerator.unwrap_model(network, keep_fp32_wrapper=False)  # takes autocast off the model again
    return TrainingReport(
        iterations=course.iteration,
        resumed_from=start,
        loss=course.watch.mean,
        seconds=time.perf_counter() - started,
        device=str(accelerator.device),
        threads=course.threads,
    )


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameter_groups(model, recipe), betas=recipe.betas, fused=True)


def _step(
    accelerator: Accelerator,
    task: Task,
    recipe: Recipe,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Any],
    iteration: int,
) -> Tensor:
    """Update ``network`` once and return the loss; ``batch`` holds images and targets as ``task.samples`` has them."""
    torch.manual_seed(_seed(recipe.seed, iteration, accelerator.process_index))
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * recipe.lr_factor(iteration)
    with accelerator.autocast():  # a teacher sees the batch
        inputs, targets = task.batch(*batch, iteration)
    loss = gradients(accelerator, task, network, inputs, targets, recipe.accumulate)
    if recipe.clip_norm is not None:
        accelerator.clip_grad_norm_(network.parameters(), recipe.clip_norm)
    optimizer.step()
    optimizer.zero_grad()
    return loss


def _measured_threads(
    accelerator: Accelerator, task: Task, recipe: Recipe, network: nn.Module, says: Says | None
) -> int:
    """Choose the number of threads by steps of this training on a copy of ``network``, which is thrown away."""
    most = torch.get_num_threads()
    if most > 1 and accelerator.num_processes == 1:  # a step of several would wait for the others'
        model = copy.deepcopy(accelerator.unwrap_model(network))
        optimizer = _optimizer(model, recipe)
        batch = first_batch(task, recipe)
        with torch.random.fork_rng(devices=[]):
            choice = choose_threads(lambda: _step(accelerator, task, recipe, model, optimizer, batch, 0), most)
        most = choice.threads
        if says is not None and accelerator.is_main_process:
            says(str(choice))
    [threads] = broadcast_object_list([most])  # one for all processes
    return int(threads)


def report_every(device: torch.device) -> int:
    """Count the iterations between two reports of progress: each reads the loss, which waits for the device."""
    return 1 if device.type == "cpu" else 10


def _seed(seed: int, iteration: int, process: int) -> int:
    own = (process,) if process else ()  # paths are dropped for each image by itself, whoever computes it
    return int(np.random.SeedSequence((seed, iteration, *own)).generate_state(1)[0])
