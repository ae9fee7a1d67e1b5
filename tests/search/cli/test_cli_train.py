"""What `train` and its companions say about what they were given."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from coloured_data import write_coloured
from data_fixtures import write_tiny_imagenet
from search_factories import small

from boostformer.model import build

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
SHORT = ("--iterations", 1, "--batch-size", 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A home with data and an untrained checkpoint."""
    write_coloured(tmp_path / "data", training=2, validation=1)
    build(next(iter(small())).replace(size=(64, 96))).save_pretrained(tmp_path / "start")
    return tmp_path


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_checkpoint_is_trained_on_unless_told_otherwise(folder: Path, run_cli: Cli) -> None:
    train = ("train", "start", "--data", "data", *SHORT)

    def trained(out: str, *options: str) -> tuple[bool, object, str]:
        said = ok(run_cli(*train, *options, "--out", out, cwd=folder))
        made = json.loads((folder / out / "config.json").read_text())["provenance"]
        return "starts from start: 99.4% of its numbers" in said, made["initialised_from"], made["recipe_name"]

    tuned = trained("tuned")
    assert tuned[0] and tuned[1] is not None and tuned[2] == "continue"
    assert trained("named", "--init", "start", "--licence", "mit") == (True, tuned[1], "mmseg-160k")
    assert "license: mit\n" in (folder / "named" / "README.md").read_text()
    assert "license: unknown\n" in (folder / "tuned" / "README.md").read_text()
    assert trained("scratch", "--from-scratch") == (False, None, "from-scratch")
    for wrong, why in (
        (("--init", "nowhere"), "error: --init: nowhere: no such"),
        (("--init", "start", "--from-scratch"), "error: --init, --from-scratch: give one of them"),
    ):
        refused = run_cli(*train, *wrong, "--out", "none", cwd=folder)
        assert refused.returncode == 2 and refused.stderr.splitlines()[-1].startswith(why)
    wrong = run_cli(*train, "--licence", "MIT License", "--out", "none", cwd=folder)
    assert wrong.returncode == 2 and "'MIT License' is no licence's name on the hub" in wrong.stderr
    write_tiny_imagenet(folder / "pictures")
    pretrain = ("pretrain", "start", "--data", "pictures", "--size", "64x64", *SHORT)
    left = "start: only its architecture is taken, the weights start from scratch"
    assert left in ok(run_cli(*pretrain, "--licence", "other, ours", "--out", "encoder", cwd=folder)).splitlines()
    assert "license: other\nlicense_name: ours\n" in (folder / "encoder" / "README.md").read_text()


def test_a_size_that_stretches_the_images_is_said(folder: Path, run_cli: Cli) -> None:
    train = ("train", "start", "--data", "data", *SHORT)
    assert "did you mean 64x96?" in ok(run_cli(*train, "--size", "96x64", "--out", "one", cwd=folder))
    assert "proportions" not in ok(run_cli(*train, "--size", "64x96", "--out", "two", cwd=folder))
    (folder / "run.yaml").write_text("space: tiny\ndata: {kind: ade20k, root: data, size: 96x64}\n")
    search = ("search", "run.yaml", "--workers", 0, "--out", "run")
    assert "did you mean 64x96?" in ok(run_cli(*search, cwd=folder))


def test_the_user_s_folder_may_be_a_tilde(folder: Path, run_cli: Cli) -> None:
    train = ("train", "start", *SHORT, "--size", "64x96", "--data")
    ok(run_cli(*train, "~/data", "--out", "one", cwd=folder, HOME=str(folder)))
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "run.yaml").write_text("space: tiny\ndata: {kind: ade20k, root: ~/data, size: 64x96}\n")
    ok(run_cli(*train, "~/elsewhere/run.yaml", "--out", "two", cwd=folder, HOME=str(folder)))
    missing = run_cli(*train, "~nobody-of-this-name/data", "--out", "three", cwd=folder)
    assert missing.returncode == 2 and "~nobody-of-this-name/data' is not a folder" in missing.stderr
