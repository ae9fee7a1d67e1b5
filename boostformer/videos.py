"""Prediction of videos and cameras: a video of overlays, frame by frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boostformer.data.config import OVERLAP, Fit
from boostformer.errors import UserError
from boostformer.files import is_file, replacing
from boostformer.overlay import palette, tinted
from boostformer.predict import Segmenter, predict_array

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
USUAL_RATE = 25.0
"""Frames per second of a source that does not say."""
CAMERA_RATE = 10.0
"""Frames per second that a camera's overlays are shown with: predicting takes time, too."""
_CODEC = "mp4v"


def predict_video(
    model: Segmenter,
    source: Path | int,
    out: Path,
    size: tuple[int, int],
    fit: Fit = "exact",
    overlap: float = OVERLAP,
    *,
    most: int | None = None,
    tell: Callable[[int, int], object] = lambda done, total: None,
) -> tuple[Path, int]:
    """Write NAME.overlay.mp4 as large as the frames; return its path and how many frames it has.

    A camera is read until Ctrl-C, which ends its video in good order.

    Args:
        model: see :func:`boostformer.predict.predict_array`, as for ``size``, ``fit`` and ``overlap``.
        source: a video's file, or a camera's number; :class:`UserError` if it cannot be read.
        out: the video's path without its ending.
        size: (H, W) at which the network sees a frame.
        fit: how a frame is brought to that size.
        overlap: of windows.
        most: frames to draw; by default all.
        tell: is called with the number of drawn frames, and of all; 0 where that is not known.
    """
    colours = palette(model.architecture.classes)
    file, done = out.with_name(f"{out.name}.overlay.mp4"), 0
    with _opened(source) as (capture, rate, total), replacing(file, parents=True) as part:
        frames = _frames(capture, most)
        first = next(frames, None)
        if first is None:
            raise UserError(f"{_named(source)}: no frame can be read")
        with _writer(part, rate, first.shape[:2]) as write:
            try:
                for frame in _chain(first, frames):
                    predicted = predict_array(model, frame, size, fit, overlap)
                    write(tinted(frame, predicted, colours))
                    done += 1
                    tell(done, min(total, most or total))
            except KeyboardInterrupt:
                if isinstance(source, Path) or not done:
                    raise
    return file, done


def _chain(first: NDArray[np.uint8], others: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    yield first
    yield from others


@contextmanager
def _opened(source: Path | int) -> Iterator[tuple[Any, float, int]]:
    """Open a video or a camera with OpenCV; give it, its frames per second and their number, 0 where not known."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what it would print itself is said in a line below
    import cv2

    if isinstance(source, Path) and not is_file(source):
        raise UserError(f"{source}: no such file")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)
    try:
        capture = cv2.VideoCapture(str(source) if isinstance(source, Path) else source)
    finally:
        cv2.utils.logging.setLogLevel(level)
    try:
        if not capture.isOpened():
            what = "cannot be read as a video" if isinstance(source, Path) else "there is no such camera here"
            allowed = f"; allowed are files that OpenCV reads, such as {', '.join(VIDEO_SUFFIXES[:3])}"
            raise UserError(f"{_named(source)}: {what}{allowed if isinstance(source, Path) else ''}")
        rate, total = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if not isinstance(source, Path):
            rate, total = CAMERA_RATE, 0
        yield capture, rate if 0 < rate <= 1000 else USUAL_RATE, max(0, total)
    finally:
        capture.release()


def _frames(capture: Any, most: int | None) -> Iterator[NDArray[np.uint8]]:
    """Read RGB frames (h, w, 3), at most so many."""
    count = 0
    while most is None or count < most:
        is_read, frame = capture.read()
        if not is_read:
            return
        count += 1
        yield np.ascontiguousarray(frame[..., ::-1])


@contextmanager
def _writer(part: Path, rate: float, shape: tuple[int, int]) -> Iterator[Callable[[NDArray[np.uint8]], object]]:
    """Write RGB frames of ``shape`` (h, w) as an MP4 file."""
    import cv2

    draft = part.with_name(f"{part.name}.mp4")  # OpenCV tells the container by the name
    writer = cv2.VideoWriter(str(draft), cv2.VideoWriter.fourcc(*_CODEC), rate, (shape[1], shape[0]))
    try:
        if not writer.isOpened():
            raise UserError(f"{part.parent}: OpenCV cannot write a video of {shape[1]}x{shape[0]} pixels here")
        yield lambda frame: writer.write(np.ascontiguousarray(frame[..., ::-1]))
        writer.release()
        draft.replace(part)
    finally:
        writer.release()
        draft.unlink(missing_ok=True)


def _named(source: Path | int) -> str:
    return str(source) if isinstance(source, Path) else f"--camera {source}"
