"""Training loop: one for proxies, full training and pre-training, on any device that accelerate knows."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

from boostformer.data import Pictures, SegmentationSplit
from boostformer.data.normalise import normalisation_of
from boostformer.errors import UserError
from boostformer.training.failures import LossWatch, memory_failures
from boostformer.training.recipes import Recipe, parameter_groups
from boostformer.training.state import ResumableState, deferred_interrupt
from boostformer.training.tasks import ClassificationTask, SegmentationTask, Task
from boostformer.training.taught import TaughtTask, Teaching
from boostformer.training.threads import choose_threads, using

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

    Raises:
        UserError: ``resume_dir`` cannot be written, or holds states of another recipe, size, shape of weights or
            ``about`` only; or the precision is fp16 on a CPU; or the teacher does not fit the data or the recipe.
        TrainingFailure: The network or recipe cannot be trained here.
    """
    seen = normalisation_of(model)
    task = (
        SegmentationTask(split, size, recipe, seen) if teaching is None else TaughtTask(split, size, recipe, teaching)
    )
    taught = {} if teaching is None else teaching.about()
    return fit(model, task, recipe, progress, says, resume_dir, {"size": size} | (about or {}) | taught)


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
) -> TrainingReport:
    """Train a classifier in place; parameters and errors are those of :func:`train`.

    ``model`` maps float ``(B, 3, H, W)`` to logits ``(B, classes)``.
    """
    task = ClassificationTask(split, size, recipe)
    return fit(model, task, recipe, progress, says, resume_dir, {"size": size} | (about or {}))


@memory_failures()
def fit(
    model: nn.Module,
    task: Task,
    recipe: Recipe,
    progress: Progress | None = None,
    says: Says | None = None,
    resume_dir: Path | None = None,
    about: dict[str, Any] | None = None,
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
    identity = (about or {}) | {"network": _signature(model), "classes": task.num_classes}
    torch.manual_seed(recipe.seed)  # what exists in training alone begins alike, whatever was drawn before
    trained = task.trained(model)
    network, optimizer = accelerator.prepare(trained, _optimizer(trained, recipe))
    try:
        watch = LossWatch(chance=task.chance())
        state = ResumableState(accelerator, resume_dir, recipe, identity)
        saved = state.load()
        start = saved.get("iteration", 0)
        if saved:
            watch = LossWatch(**saved["watch"])
        network.train()
        threads = saved.get("threads") or recipe.threads
        if accelerator.device.type != "cpu":
            threads = None
        elif threads is None:
            threads = _measured_threads(accelerator, task, recipe, network, says)
        loader = accelerator.prepare(_loader(task, recipe, start, accelerator.device))
        read_every = report_every(accelerator.device)
        saved_at = time.monotonic()

        def save(done: int) -> None:
            nonlocal saved_at
            state.save(done, {"iteration": done, "watch": dataclasses.asdict(watch), "threads": threads})
            saved_at = time.monotonic()

        with using(threads), deferred_interrupt(resume_dir is not None) as interrupted:
            done = start
            for iteration, batch in enumerate(_until(interrupted, loader), start):
                loss = _step(accelerator, task, recipe, network, optimizer, batch, iteration)
                done = iteration + 1
                saves = done % recipe.save_every == 0 or done in (recipe.trunk, recipe.iterations)
                reads = done % read_every == 0 or saves
                if reads:
                    watch.see(done, accelerator.reduce(loss.detach(), "mean").item())
                    if resume_dir is not None and time.monotonic() - saved_at > SAVE_AFTER:
                        accelerator.set_trigger()  # clocks differ: all processes save, or none
                    saves |= accelerator.check_trigger()
                if saves:
                    save(done)
                try:
                    if reads and progress is not None and accelerator.is_main_process:
                        progress(done, recipe.iterations, watch.mean)
                    if interrupted():
                        raise KeyboardInterrupt
                except KeyboardInterrupt:
                    save(done)
                    raise
            if done < recipe.iterations:
                save(done)
                raise KeyboardInterrupt
    finally:
        accelerator.unwrap_model(network, keep_fp32_wrapper=False)  # takes autocast off the model again
    return TrainingReport(
        iterations=recipe.iterations,
        resumed_from=start,
        loss=watch.mean,
        seconds=time.perf_counter() - started,
        device=str(accelerator.device),
        threads=threads,
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
    torch.manual_seed(_seed(recipe.seed, iteration))
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * recipe.lr_factor(iteration)
    with accelerator.autocast():  # a teacher sees the batch
        inputs, targets = task.batch(*batch, iteration)
    loss = task.loss(network(inputs), targets)
    accelerator.backward(loss)
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
    if most > 1:
        model = copy.deepcopy(accelerator.unwrap_model(network))
        optimizer = _optimizer(model, recipe)
        batch = default_collate([task.samples[position] for position in range(recipe.batch_size)])
        with torch.random.fork_rng(devices=[]):
            choice = choose_threads(lambda: _step(accelerator, task, recipe, model, optimizer, batch, 0), most)
        most = choice.threads
        if says is not None and accelerator.is_main_process:
            says(str(choice))
    [threads] = broadcast_object_list([most])  # one for all processes
    return int(threads)


def _until(interrupted: Callable[[], bool], loader: DataLoader) -> Iterator[Any]:
    """Yield the loader's batches; end early when its processes died of the stop that ``interrupted`` tells of.

    A batch system tells all processes of a job to stop, not the trainer alone.
    """
    try:
        yield from loader
    except (RuntimeError, OSError):
        if not interrupted():
            raise


def report_every(device: torch.device) -> int:
    """Count the iterations between two reports of progress: each reads the loss, which waits for the device."""
    return 1 if device.type == "cpu" else 10


def _loader(task: Task, recipe: Recipe, start: int, device: torch.device) -> DataLoader:
    workers = recipe.workers
    if workers is None:  # on a CPU the cores are busy training
        workers = 0 if device.type == "cpu" else min(8, os.cpu_count() or 1)
    return DataLoader(
        task.samples,
        batch_size=recipe.batch_size,
        # The samples go on endlessly, so every batch is full: BatchNorm never meets a lone image.
        sampler=range(start * recipe.batch_size, recipe.iterations * recipe.batch_size),
        num_workers=workers,
        worker_init_fn=_quiet_worker if workers else None,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),
    )


def _quiet_worker(worker: int) -> None:
    # A signal to the whole process group must not end it: the trainer alone stops it, by a SIGTERM.
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _seed(seed: int, iteration: int) -> int:
    return int(np.random.SeedSequence((seed, iteration)).generate_state(1)[0])


def _signature(model: nn.Module) -> str:
    """Hash the names and shapes of the weights: equal for networks whose states fit each other."""
    lines = [f"{name} {tuple(value.shape)}" for name, value in model.state_dict().items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
