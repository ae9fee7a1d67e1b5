"""Needs of a score: the network, from a checkpoint or an exported file, and images matched to its classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boostformer.errors import UserError, nearest
from search.cli.data_summary import say_data
from search.cli.output import note

if TYPE_CHECKING:
    import torch

    from boostformer.data import DataConfig, SegmentationSplit
    from boostformer.deploy.onnx_network import OnnxNetwork
    from boostformer.model import BoostFormer

SPLITS = ("training", "validation", "test")
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, or auto: a GPU where there is one.")]
PrecisionOption = Annotated[str, typer.Option("--precision", help="fp32, bf16, or on a GPU fp16.")]
SplitOption = Annotated[str, typer.Option("--split", help="training, validation or test.")]


def load(path: Path, device: str, precision: str) -> tuple[BoostFormer | OnnxNetwork, torch.device]:
    """Load the network of a checkpoint's folder or of an ONNX file, onto a device.

    Args:
        path: the folder or the file.
        device: auto, cpu or cuda; an ONNX file runs on the CPU.
        precision: fp32, bf16 or fp16; an ONNX file has its own.

    Raises:
        UserError: the network cannot be read, or not run so.
    """
    from boostformer.model import BoostFormer
    from boostformer.training.devices import check_precision, chosen_device

    if path.suffix == ".onnx":
        from boostformer.deploy.onnx_network import OnnxNetwork

        exported = OnnxNetwork(path)
        if device == "cuda" or precision != "fp32":
            raise UserError(f"{path}: an ONNX file is scored on the CPU, as it is; leave out --device and --precision")
        return exported, chosen_device("cpu")
    place = chosen_device(device)
    check_precision(precision, place)
    return BoostFormer.load(path).to(place), place


def refuse_size(network: Path, own: tuple[int, int], asked: tuple[int, int]) -> None:
    """Raise :class:`UserError` where ``network`` is an ONNX file, whose input has its ``own`` (H, W), not the asked."""
    if network.suffix == ".onnx" and asked != own:
        raise UserError(f"--size: {network} sees images of {own[0]}x{own[1]} alone; export it at {asked[0]}x{asked[1]}")


def checked_split(split: str) -> str:
    """Return ``split`` if it is a part of a data set; else :class:`UserError`."""
    if split not in SPLITS:
        raise UserError(f"--split: unknown '{split}'; {nearest(split, SPLITS)}")
    return split


def open_images(
    network: BoostFormer | OnnxNetwork, path: Path, config: DataConfig, split: str
) -> tuple[SegmentationSplit, Callable[[], str]]:
    """Open a part of the data as the network counts its classes, and give what digests its images and masks.

    Args:
        network: what will see them.
        path: where it was read from, for messages.
        config: the data.
        split: training, validation or test.

    Raises:
        UserError: the data cannot be read or do not fit the network.
    """
    from boostformer.data import open_split
    from boostformer.data.matching import matched
    from boostformer.names import class_names
    from boostformer.weights import checkpoint
    from search.cli.arch_argument import at_size

    at_size(network.architecture, config.size)
    where = path if path.suffix == ".onnx" else path / checkpoint.CONFIG
    names = class_names(network.labels, f"{where}: labels")
    if names and len(names) != network.architecture.classes:
        raise UserError(f"{path}: has {len(names)} names (`labels`) for {network.architecture.classes} classes")
    bands = network.architecture.bands
    if config.reading.count != bands:
        raise UserError(
            f"{config.root or config.kind}: `bands: {config.bands}` reads {config.reading.count}, but {path} is of "
            f"{bands}; allowed: data of as many bands, `bands: {network.reading.bands}`"
        )
    found = open_split(config, split)  # type: ignore[arg-type]
    say_data(found)
    images, how = matched(found, names, network.architecture.classes, str(config.root or config.kind))
    if how is not None:
        note(how)
    return images, found.content


@contextmanager
def ending_without_result() -> Iterator[None]:
    """End the program with one line and exit code 1 where the memory does not suffice."""
    from boostformer.training import TrainingFailure

    try:
        yield
    except TrainingFailure as failure:
        note(f"error: scoring ended without a result: {failure}")
        raise typer.Exit(1) from None
