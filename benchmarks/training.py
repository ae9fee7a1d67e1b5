"""Whole training loops, images a second: ours beside a plain loop around transformers' SegFormer, in one run.

Both train SegFormer-B0 on the same generated scenes, with the same batch and threads, and load them in as many
processes: ours through its own loader, theirs through the pipeline of albumentations that published examples use, with
the same ranges. Each takes turns, and the median counts; then the same with loading switched off, where every iteration
sees the first batch. On a GPU both train in bfloat16, compiled as well.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import albumentations as A  # noqa: N812
import torch
import transformers
from inference import imported, transformers_segformer
from machine import cores, processor, versions
from torch import nn
from torch.utils.data import DataLoader, Dataset

from boostformer import recipes
from boostformer.data import DataConfig, SegmentationSplit, open_split
from boostformer.data.normalise import normalise
from boostformer.training import Recipe, loop, train

Run = Callable[[nn.Module], float]
"""Trains a network and returns the images a second, the first iterations aside."""


class Scenes(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images and labels varied as published examples do it; ``length`` of them, over and over."""

    def __init__(self, split: SegmentationSplit, length: int) -> None:
        height, width = split.size
        self.split, self.length = split, length
        pad = A.PadIfNeeded(height, width, fill=0, fill_mask=split.ignored)
        colours = A.ColorJitter(brightness=0.125, contrast=0.5, saturation=0.5, hue=0.1, p=0.75)
        scale = A.RandomScale((-0.5, 1.0), p=1)
        self.vary = A.Compose([scale, pad, A.RandomCrop(height, width), A.HorizontalFlip(p=0.5), colours])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, label = self.split.resized(index % len(self.split))
        varied = self.vary(image=image, mask=label)
        return torch.tensor(varied["image"]), torch.tensor(varied["mask"])


@dataclass
class First:
    """Batches that are the first one again and again, so that nothing is loaded."""

    batches: DataLoader
    count: int

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        return itertools.repeat(next(iter(self.batches)), self.count)


def ours(split: SegmentationSplit, recipe: Recipe, skipped: int, loads: bool, model: nn.Module) -> float:
    """Run our loop, which reports after every iteration on a CPU, else after every tenth."""
    reports: list[tuple[int, float]] = []
    tell = lambda done, total, loss: reports.append((done, time.perf_counter()))  # noqa: E731
    still = mock.patch.object(loop, "until", lambda interrupted, batches: iter(First(batches, recipe.iterations)))
    with contextlib.nullcontext() if loads else still:
        train(model, split, recipe, size=split.size, progress=tell)
    (first, began), (last, ended) = next(report for report in reports if report[0] >= skipped), reports[-1]
    return (last - first) * recipe.batch_size / (ended - began)


def plain(split: SegmentationSplit, recipe: Recipe, skipped: int, loads: bool, model: nn.Module) -> float:
    """Run the loop that transformers' documentation suggests: the model's own loss, AdamW, one pass over the data."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu = device.type == "cuda"
    batches: DataLoader | First = DataLoader(
        Scenes(split, recipe.iterations * recipe.batch_size),
        recipe.batch_size,
        shuffle=True,
        num_workers=min(8, cores()) if gpu else 0,  # as many as ours
        pin_memory=gpu,
    )
    if not loads:
        batches = First(batches, recipe.iterations)
    model = model.to(device).train()
    step = torch.compile(model) if recipe.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    began = 0.0
    every = loop.report_every(device)
    for done, (images, labels) in enumerate(batches, 1):
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss = step(pixel_values=normalise(images), labels=labels.long()).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm or float("inf"))
        optimizer.step()
        optimizer.zero_grad()
        if done % every == 0:  # as ours does, to know that the loss is a number
            loss.item()
        if done == skipped:
            began = time.perf_counter()
    return (recipe.iterations - skipped) * recipe.batch_size / (time.perf_counter() - began)


def raced(split: SegmentationSplit, recipe: Recipe, skipped: int, rounds: int, loads: bool) -> None:
    """Let both take turns, and print their speeds and their ratios."""
    theirs = transformers_segformer("b0", split.num_classes, drop_path=recipe.drop_path)
    theirs.config.semantic_loss_ignore_index = split.ignored
    # The same two networks in every round, so that they are not compiled anew in each.
    contenders: dict[str, tuple[Run, nn.Module]] = {
        "transformers": (partial(plain, split, recipe, skipped, loads), theirs),
        "ours": (partial(ours, split, recipe, skipped, loads), imported(theirs, recipe.drop_path)),
    }
    speeds: dict[str, list[float]] = {who: [] for who in contenders}
    for _ in range(rounds):
        for who, (run, model) in contenders.items():
            speeds[who].append(run(model))
    torch._dynamo.reset()
    ratios = [mine / other for mine, other in zip(speeds["ours"], speeds["transformers"], strict=True)]
    how = f"{recipe.precision}{', compiled' if recipe.compile else ''}, {recipe.batch_size} images of "
    how += f"{'x'.join(map(str, split.size))}, {'loaded' if loads else 'a fixed batch'}"
    for who, found in speeds.items():
        print(f"{how}: {who} {statistics.median(found):.1f} images/s ({min(found):.1f} to {max(found):.1f})")
    print(f"{how}: ours {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) times transformers")


def main() -> None:
    parser = argparse.ArgumentParser(description="Whole training loops, beside transformers.")
    parser.add_argument("--threads", type=int, default=cores(), help="on a CPU; default: all cores, here %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each takes (default 3)")
    parser.add_argument("--iterations", type=int, help="of each training; default 12 on a CPU, 120 on a GPU")
    parser.add_argument("--size", default=None, help="HxW; default 128x128 on a CPU, 512x512 on a GPU")
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    gpu = torch.cuda.is_available()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    print(f"{processor()}, {options.threads} threads; {torch.cuda.get_device_name() if gpu else 'no accelerator'}")
    print(versions("torch", "transformers", "accelerate"))
    height, width = map(int, (options.size or ("512x512" if gpu else "128x128")).split("x"))
    iterations = options.iterations or (120 if gpu else 12)
    skipped = iterations // 4
    data = DataConfig(size=(height, width), scenes={"training": 64, "validation": 1})
    common = {"iterations": iterations, "batch_size": options.batch_size, "warmup_iterations": 0, "drop_path": 0.1}
    with tempfile.TemporaryDirectory() as cache:
        split = open_split(data, "training", Path(cache))
        for index in range(len(split)):  # drawn once and kept
            split.resized(index)
        for compiled in (False, True) if gpu else (False,):
            settings = common | {"precision": "bf16" if gpu else "fp32", "compile": compiled}
            recipe = recipes.load("proxy", threads=options.threads, **settings)
            for loads in (True, False):
                raced(split, recipe, skipped, options.rounds, loads)


if __name__ == "__main__":
    main()
