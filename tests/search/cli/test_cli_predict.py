"""`boostformer predict` on patterns, videos and cameras, and what it refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "boostformer"))
from test_videos import frames_of, write_video  # noqa: E402

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_pattern_and_a_video(trained: Path, run_cli: Cli, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        shutil.copy(next((trained / "data/images/training").glob("*.png")), tmp_path / name)
    write_video(tmp_path / "street.avi")
    done = run_cli("predict", trained / "net", "*.png", "street.avi", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = ["a.labels.png", "a.overlay.png", "b.labels.png", "b.overlay.png", "legend.png", "street.overlay.mp4"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert sorted(done.stdout.split()) == [f"out/{name}" for name in names]
    assert len(frames_of(tmp_path / "out/street.overlay.mp4")[0]) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing-*.png"], "no file matches this pattern"),
        ([], "needs images, folders or videos, or --camera"),
        (["--camera", 98], "--camera 98: there is no such camera here"),
        (["--camera", 98, "--only", "labels"], "--only labels"),
        (["a.png", "--frames", 3], "--frames"),
        (["a/x.mp4", "b/x.avi"], "would be drawn into the same file"),
    ],
)
def test_what_is_refused(arguments: list[object], said: str, trained: Path, run_cli: Cli, tmp_path: Path) -> None:
    done = run_cli("predict", trained / "net", *arguments, "--out", "out", cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1], done.stderr
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
