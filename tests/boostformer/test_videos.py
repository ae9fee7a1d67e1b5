"""Overlays of videos: as large and as long as the video; what is none is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from boostformer import BoostFormer, build, presets
from boostformer.errors import UserError
from boostformer.videos import predict_video


@pytest.fixture(scope="module")
def model() -> BoostFormer:
    torch.manual_seed(0)
    return build(presets.load("boostformer_b0", classes=3, size=(32, 64))).eval()


def write_video(file: Path, frames: int = 3) -> None:
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (96, 48))
    for number in range(frames):
        writer.write(np.full((48, 96, 3), 40 * number, np.uint8))
    writer.release()


def frames_of(file: Path) -> tuple[list[np.ndarray], float]:
    capture, found = cv2.VideoCapture(str(file)), []
    while (read := capture.read())[0]:
        found.append(read[1])
    return found, capture.get(cv2.CAP_PROP_FPS)


def test_a_video_becomes_a_video_of_overlays(tmp_path: Path, model: BoostFormer) -> None:
    write_video(tmp_path / "street.avi")
    told: list[tuple[int, int]] = []
    file, count = predict_video(
        model, tmp_path / "street.avi", tmp_path / "out/street", (32, 64), tell=lambda *far: told.append(far)
    )
    assert file == tmp_path / "out/street.overlay.mp4" and count == 3 and told == [(1, 3), (2, 3), (3, 3)]
    found, rate = frames_of(file)
    assert [frame.shape for frame in found] == [(48, 96, 3)] * 3 and rate == pytest.approx(5)
    assert np.ptp(found[0]) > 20, "the grey frame has the classes' colours"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["street.overlay.mp4"]


def test_only_so_many_frames_are_drawn(tmp_path: Path, model: BoostFormer) -> None:
    write_video(tmp_path / "street.avi")
    file, count = predict_video(model, tmp_path / "street.avi", tmp_path / "out", (32, 64), most=2)
    assert count == 2 and len(frames_of(file)[0]) == 2


def test_what_is_no_video_or_camera_is_refused(tmp_path: Path, model: BoostFormer) -> None:
    (tmp_path / "fake.mp4").write_bytes(b"no video at all")
    sources = {
        tmp_path / "fake.mp4": "cannot be read as a video",
        tmp_path / "none.mp4": "no such file",
        98: "--camera 98: there is no such camera here",
    }
    for source, said in sources.items():
        with pytest.raises(UserError, match=said):
            predict_video(model, source, tmp_path / "out/x", (32, 64))
        assert not list(tmp_path.glob("out/*"))
