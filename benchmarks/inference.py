"""Our networks beside transformers' SegFormer: inference and training steps, in one run on one machine.

Both compute the same function: transformers' networks get random weights, are saved, and are imported by
``boostformer.import_checkpoint``. All logits are compared with those of transformers in eager mode. The
contenders take turns (A B C A B C ...), so that drift of the machine affects all alike; each turn is one untimed and
one timed call. Times are medians over the rounds, ratios are those of the medians, with the range of the
rounds' own ratios. Run it with ``make benchmark`` on a machine with nothing else to do: a core that another
process takes makes every parallel loop wait.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import torch
import transformers
from machine import cores, processor, versions
from torch import Tensor, nn
from torch.nn import functional

from boostformer import build, import_checkpoint, presets
from boostformer.deploy.onnx_writer import to_onnx
from boostformer.fold import fold
from boostformer.model import BoostFormer

OPSET = 18
PRESETS = {"b0": "segformer_b0", "b2": "segformer_b2", "boostformer": "boostformer"}
NAMES = {"b0": "SegFormer-B0", "b2": "SegFormer-B2", "boostformer": "BoostFormer"}
AIMS = {"b0": 1.5, "b2": 2.0, "training": 1.3}
"""How many times as fast as transformers' ours are to be: in ONNX Runtime, and a training step of SegFormer-B0."""
TRAINING = ((128, 192, 8), (256, 256, 4))
"""Height, width and batch of the training steps: SegFormer-B0 with the 11 classes of CamVid."""


@dataclass(eq=False)
class Contender:
    """Somebody who does the same work once a turn; ``peer`` is whom it is compared with, ``aim`` how far ahead."""

    network: str
    how: str
    run: Callable[[], Any]
    difference: float | None = None
    peer: Contender | None = None
    aim: float | None = None
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def take_turn(self) -> None:
        self.run()  # wakes the threads and fills the caches
        start = time.perf_counter()
        self.run()
        self.seconds.append(time.perf_counter() - start)


def race(title: str, contenders: Sequence[Contender], rounds: int) -> None:
    for contender in contenders:
        contender.run()
    for _ in range(rounds):
        for contender in contenders:
            contender.take_turn()
    print(f"\n{title}")
    columns = "{:<14} {:<38} {:>10} {:>22}  {}"
    print(columns.format("", "", "median ms", "fastest to slowest", "logits differ by"))
    for one in contenders:
        spread = f"{1e3 * min(one.seconds):,.1f} to {1e3 * max(one.seconds):,.1f}"
        difference = "" if one.difference is None else f"{one.difference:.1e}"
        print(columns.format(one.network, one.how, f"{1e3 * one.median:,.1f}", spread, difference))


def print_ratios(contenders: Sequence[Contender]) -> None:
    print("\nhow many times as fast: ratio of the medians (range of the rounds' own ratios)")
    for one in contenders:
        if (peer := one.peer) is None:
            continue
        ratio = peer.median / one.median
        ratios = [theirs / ours for theirs, ours in zip(peer.seconds, one.seconds, strict=True)]
        line = f"{one.network}, {one.how}: {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}) times {peer.how}"
        if one.aim is not None:
            line += f"; the aim is {one.aim}: {'met' if ratio >= one.aim else 'MISSED'}"
        print(line)


def transformers_segformer(name: str, classes: int, drop_path: float = 0.0) -> nn.Module:
    """transformers' network of a preset's numbers, in eval mode, every weight and statistic random."""
    arch = presets.load(PRESETS[name])
    config = transformers.SegformerConfig(
        hidden_sizes=[stage.width for stage in arch.stages],
        depths=[stage.depth for stage in arch.stages],
        num_attention_heads=[1, 2, 5, 8],
        decoder_hidden_size=arch.decoder.width,
        num_labels=classes,
        drop_path_rate=drop_path,
    )
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.add_(0.02 * torch.randn_like(value))
    return model


def imported(model: nn.Module, drop_path: float = 0.0) -> BoostFormer:
    """The same network as ours, through a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        ours = import_checkpoint(folder)
    fresh = build(ours.architecture, drop_path)
    fresh.load_state_dict(ours.state_dict())
    return fresh.eval()


class Logits(nn.Module):
    """A network of transformers, answering with its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model(pixel_values=image).logits


def exported_by_hand(model: nn.Module, image: Tensor) -> bytes:
    """ONNX as a user of transformers gets it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model, (image,), dynamo=True, opset_version=OPSET, external_data=False, verbose=False
        )
    assert program is not None
    return program.model_proto.SerializeToString()


def in_onnxruntime(content: bytes, image: Tensor, threads: int) -> Callable[[], Tensor]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: image.numpy()}
    return lambda: torch.from_numpy(np.asarray(session.run(None, feed)[0]))


def eager(model: nn.Module, image: Tensor) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with torch.inference_mode():
            logits = model(image)
        if image.is_cuda:
            torch.cuda.synchronize()
        return logits

    return run


def difference(expected: Tensor, found: Tensor) -> float:
    """The largest, as a share of the largest expected value."""
    return float((found.float().cpu() - expected).abs().max() / expected.abs().max())


def networks(name: str) -> dict[str, nn.Module]:
    """Everybody's form of one network, by whose it is: first the one whose logits all others must have."""
    if name == "boostformer":
        ours, found = build(presets.load(PRESETS[name])).eval(), {}
    else:
        theirs = transformers_segformer(name, classes=150)
        ours, found = imported(theirs), {"transformers": Logits(theirs)}
    return found | {"ours": ours, "ours, folded": fold(ours)}


def on_processor(name: str, image: Tensor, threads: int) -> list[Contender]:
    """Eager and in ONNX Runtime; ours is exported folded only, as `boostformer export` does."""
    models, runs = networks(name), {}
    for who, model in models.items():
        runs[who, "eager"] = eager(model, image)
    for who, model in models.items():
        if who == "transformers":
            runs[who, "ONNX Runtime"] = in_onnxruntime(exported_by_hand(model, image), image, threads)
        elif who == "ours, folded":
            content = to_onnx(model, (image,), OPSET).SerializeToString()
            runs[who, "ONNX Runtime"] = in_onnxruntime(content, image, threads)
    return compared(name, runs)


def on_cuda(name: str, image: Tensor) -> list[Contender]:
    """In bfloat16 on an accelerator, eager and compiled."""
    image, runs = image.to("cuda", torch.bfloat16), {}
    for who, model in networks(name).items():
        model = model.to("cuda", torch.bfloat16)
        runs[who, "CUDA bf16 eager"] = eager(model, image)
        runs[who, "CUDA bf16 compiled"] = eager(torch.compile(model), image)
    return compared(name, runs)


def compared(name: str, runs: dict[tuple[str, str], Callable[[], Tensor]]) -> list[Contender]:
    """The runs by (who, runtime) as contenders, each with its difference from the first and its peer."""
    expected = next(iter(runs.values()))().float().cpu()
    found: dict[tuple[str, str], Contender] = {}
    for (who, runtime), run in runs.items():
        one = Contender(NAMES[name], f"{who}, {runtime}", run, difference(expected, run()))
        if who != "transformers":
            one.peer = found.get(("transformers", runtime))
            one.aim = AIMS.get(name) if runtime == "ONNX Runtime" else None
        found[who, runtime] = one
    return list(found.values())


def training(size: tuple[int, int], batch: int, device: str) -> list[Contender]:
    """Steps of SegFormer-B0, both with the same loss and optimizer, and drop path and dropout at their usual .1."""
    images = torch.randn(batch, 3, *size, device=device)
    labels = torch.randint(11, (batch, *size), device=device)
    theirs = transformers_segformer("b0", classes=11, drop_path=0.1)
    models = {"transformers": Logits(theirs), "ours": imported(theirs, drop_path=0.1)}
    expected = eager(models["transformers"], images.cpu())()
    found: list[Contender] = []
    for who, model in models.items():
        apart = difference(expected, eager(model, images.cpu())())
        run = training_step(model.to(device), images, labels)
        found.append(Contender("SegFormer-B0", f"{who}, training {batch} x {size[0]}x{size[1]}", run, apart))
    found[1].peer, found[1].aim = found[0], AIMS["training"] if device == "cpu" else None
    return found


def training_step(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], float]:
    """Forward, cross-entropy at the labels' size, backward, AdamW; in bfloat16 on an accelerator."""
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=6e-5, weight_decay=0.01, fused=True)

    def run() -> float:
        with torch.autocast("cuda", torch.bfloat16, enabled=images.is_cuda):
            logits = model(images)
        logits = functional.interpolate(logits.float(), labels.shape[1:], mode="bilinear", align_corners=False)
        loss = functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()  # waits for the device

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description="Inference and training steps, beside transformers.")
    parser.add_argument("--threads", type=int, default=cores(), help="default: all cores, here %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="turns that each takes; the median counts (default 7)")
    parser.add_argument("--models", default=",".join(PRESETS), help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="a try: SegFormer-B0 alone, small images, 2 rounds")
    options = parser.parse_args()
    names = ["b0"] if options.quick else options.models.split(",")
    if unknown := set(names) - set(PRESETS):
        parser.error(f"--models: unknown {', '.join(sorted(unknown))}, allowed: {', '.join(PRESETS)}")
    rounds = 2 if options.quick else options.rounds
    size = (128, 128) if options.quick else (512, 512)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no accelerator"
    load = os.getloadavg()[0]
    print(f"{processor()}, {options.threads} threads, load {load:.1f} at the start; {device}")
    if load > 0.5:
        print("other processes seem to be at work: wait for them, or expect figures that mean little")
    print(versions("torch", "transformers", "onnxruntime", "onnx"))

    image, everybody = torch.randn(1, 3, *size), []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        contenders = [
            one
            for name in names
            for one in (on_processor(name, image, options.threads) if device == "cpu" else on_cuda(name, image))
        ]
        race(f"inference on {device}, one image of {size[0]}x{size[1]}, 150 classes", contenders, rounds)
        everybody += contenders
        for height, width, batch in TRAINING[:1] if options.quick else TRAINING:
            contenders = training((height, width), batch, device)
            race(f"training step on {device}, {batch} images of {height}x{width}, 11 classes", contenders, rounds)
            everybody += contenders
    print_ratios(everybody)


if __name__ == "__main__":
    main()
