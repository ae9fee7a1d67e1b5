"""Bad input through the command line: one line that names what is wrong and what is allowed, exit code 2."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from boostformer import BoostFormer, build, presets
from boostformer.architecture import BlockSpec
from search.cli import program as cli

RUN = """\
space: tiny
data: {kind: ade20k, root: data, size: 32x64}
budgets: {params: 60k}
proxy: {iterations: 2, batch_size: 2}
search: {trials: 1}
"""
SPACE = """\
version: 1
size: 64x64
classes: 4
stages:
  - &stage
    width: [16, 24]
    depth: 1
    embed: {overlap_conv: {kernel: 3}}
    mixer: {mhsa: {heads: [2, 4]}}
    ffn: {mix_ffn: {ratio: [2, 4]}}
  - *stage
  - *stage
  - *stage
decoder: {width: 16, fusion: {concat: {}}}
"""
Refused = Callable[..., str]


@pytest.fixture
def refused(apart: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the program here, in a folder with a data set and a run file; gives the one line it answers."""
    for split, number in (("training", 2), ("validation", 1)):
        for kind in ("images", "annotations"):
            (apart / "data" / kind / split).mkdir(parents=True)
        for i in range(number):
            image = np.random.default_rng(i).integers(0, 256, (40, 64, 3), dtype=np.uint8)
            Image.fromarray(image).save(apart / "data" / "images" / split / f"{i}.jpg")
            mask = np.random.default_rng(i).integers(0, 4, (40, 64), dtype=np.uint8)
            Image.fromarray(mask).save(apart / "data" / "annotations" / split / f"{i}.png")
    (apart / "data" / "classes.txt").write_text("road\nsky\ncar\n")
    (apart / "run.yaml").write_text(RUN)
    (apart / "space.yaml").write_text(SPACE)
    monkeypatch.chdir(apart)

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["boostformer", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        assert end.value.code == 2, err
        *remarks, last = err.splitlines()  # on the data and what masks mean, before what is wrong
        assert out == "" and last.startswith("error: "), err
        assert all(
            "mask" in line or line.startswith(("data: ", "most frequent: ", "no advice", "advice: ", "reading "))
            for line in remarks
        )
        return last.removeprefix("error: ").strip()

    return run


def search(refused: Refused) -> str:
    return refused("search", "run.yaml", "--out", "out")


def edit(file: str, old: str, new: str) -> None:
    text = Path(file).read_text()
    assert old in text
    Path(file).write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("    depth: 1", "    dept: 1", ["space.yaml:", "unknown key", "did you mean 'depth'?"]),
        ("mhsa: {heads", "mhsaa: {heads", ["space.yaml:9", "unknown mixer 'mhsaa'", "did you mean 'mhsa'?"]),
        ("heads: [2, 4]", "headz: [2, 4]", ["space.yaml:9", "headz", "did you mean 'heads'?"]),
        ("ratio: [2, 4]", "ratio: [2, 5]", ["space.yaml:10", "ratio", "5", "allowed", "1, 2, 3, 4, 6, 8"]),
        ("heads: [2, 4]", "heads: [2, 16]", ["space.yaml:9", "heads 16 does not divide width 24"]),
        ("version: 1", "version: 2", ["space.yaml:1", "version", "2", "1"]),
        ("overlap_conv: {kernel: 3}", "pooling: {}", ["space.yaml:8", "stages.0.embed.pooling", "blurred RGB"]),
        ("size: 64x64", "size: 512x512", ["space.yaml:9", "stages.0.mixer.mhsa", "heads 2", "128x128 keys"]),
        ("width: [16, 24]", "width: [16, wide]", ["space.yaml:6", "width", "wide"]),
        ("decoder: {", "decoder: {{", ["space.yaml"]),
    ],
)
def test_a_space(refused: Refused, old: str, new: str, expected: list[str]) -> None:
    edit("space.yaml", old, new)
    line = refused("space", "space.yaml")
    for part in expected:
        assert part in line


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("space: tiny", "space: tinny", ["run.yaml:1", "'tinny'", "did you mean 'tiny'?"]),
        ("budgets:", "budget:", ["run.yaml:3", "budget", "did you mean 'budgets'?"]),
        ("params: 60k", "parms: 60k", ["run.yaml:3", "parms", "did you mean 'params'?"]),
        ("params: 60k", "params: 1k", ["run.yaml:3", "no network of the space fits", "smallest", "params"]),
        ("params: 60k", "params: 80%", ["run.yaml:3", "80%", "baseline"]),
        ("iterations: 2", "iterations: none", ["run.yaml:4", "iterations", "none"]),
        ("batch_size: 2", "batchsize: 2", ["run.yaml:4", "batchsize", "batch_size"]),
        ("size: 32x64", "size: 16x64", ["run.yaml:2", "size", "at least 32"]),
        ("trials: 1", "trials: 0", ["run.yaml:5", "trials", "0"]),
        ("root: data", "root: nowhere", ["nowhere"]),
        ("trials: 1", "seed: -1", ["run.yaml:5: search.seed", "-1"]),
        ("trials: 1", "seed: 2024-13-45", ["run.yaml:5", "seed: '2024-13-45' cannot be read as a value"]),
        ("space: tiny", "on: tiny", ["run.yaml:1", "'on' is not a word"]),
        ("iterations: 2", "1: 2", ["run.yaml:4", "'1' is not a word"]),
        ("params: 60k", "params: [1]", ["run.yaml:3: budgets.params", "[1]"]),
        (
            "params: 60k",
            "params: 60k, counted: training",
            ["run.yaml:3: budgets.counted: unknown 'training'", "allowed: deployed, trained"],
        ),
        ("space: tiny", "space: boostformer_b2", ["run.yaml:1: space: boostformer_b2 at 32x64", "map of 4x8"]),
    ],
)
def test_a_run_file(refused: Refused, old: str, new: str, expected: list[str]) -> None:
    edit("run.yaml", old, new)
    line = search(refused)
    for part in expected:
        assert part in line
    assert not Path("out").exists()


class TestData:
    """A damaged data set is refused before any training, and the file is named."""

    def test_a_missing_mask(self, refused: Refused) -> None:
        Path("data/annotations/training/1.png").unlink()
        assert "1.png" in search(refused)

    def test_a_missing_image(self, refused: Refused) -> None:
        Path("data/images/training/1.jpg").unlink()
        assert "1.png" in search(refused)

    def test_a_truncated_image(self, refused: Refused) -> None:
        file = Path("data/images/training/0.jpg")
        file.write_bytes(file.read_bytes()[:600])
        line = search(refused)
        assert "images/training/0.jpg" in line and "truncated" in line

    def test_a_label_outside_the_classes(self, refused: Refused) -> None:
        file = Path("data/annotations/validation/0.png")
        mask = np.array(Image.open(file))
        mask[0, 0] = 9
        Image.fromarray(mask).save(file)
        line = search(refused)
        assert "annotations/validation/0.png" in line and "9" in line and "3" in line

    def test_a_mask_of_another_size(self, refused: Refused) -> None:
        Image.fromarray(np.ones((10, 10), np.uint8)).save("data/annotations/training/0.png")
        line = search(refused)
        assert "training/0" in line and "10" in line and "40" in line

    def test_an_empty_split(self, refused: Refused) -> None:
        Path("data/images/validation/0.jpg").unlink()
        Path("data/annotations/validation/0.png").unlink()
        assert "validation" in search(refused)


class TestMeaning:
    """Data that nothing can be learnt from, or whose names do not fit, are refused by every command that opens them."""

    @pytest.fixture(autouse=True)
    def binary(self, refused: Refused) -> None:
        Path("data/classes.txt").unlink()
        for file in Path("data/annotations").glob("*/*.png"):
            Image.fromarray(np.minimum(np.array(Image.open(file)), 1)).save(file)

    def test_one_class(self, refused: Refused) -> None:
        train = ("train", "boostformer_b0", "--data", "data", "--size", "32x64", "--out", "out")
        checkpoint()
        for line in (search(refused), refused(*train), refused("evaluate", "net", "--data", "data")):
            assert "data/annotations/training: only 'class_1' occurs" in line and "background" in line

    def test_options(self, refused: Refused) -> None:
        train = ("train", "boostformer_b0", "--data", "data", "--size", "32x64", "--out", "out")
        assert "--ignore: '70000'" in refused(*train, "--ignore", "0,70000")
        assert "'background' beside 'classes' by value" in refused(*train, "--classes", "0=a,1=b", "--background", "c")
        assert "names 'a' twice" in refused(*train, "--classes", "a,a")
        assert "label 1 is outside the 1 classes" in refused(*train, "--classes", "a", "--ignore", "255")


class TestFolders:
    """Run directories and checkpoints that are not what the command needs."""

    def test_a_folder_that_is_no_run(self, refused: Refused) -> None:
        assert "data" in refused("pareto", "data")
        Path("out").mkdir()
        Path("out/thesis.tex").write_text("")
        assert "thesis.tex" in search(refused)

    def test_an_unwritable_output(self, refused: Refused) -> None:
        Path("file").write_text("")
        assert "file" in refused("search", "run.yaml", "--out", "file/run")
        checkpoint()
        assert "file/net.onnx" in refused("export", "net", "--out", "file/net.onnx")
        assert "file" in refused("predict", "net", "data/images/training/0.jpg", "--out", "file/pictures")
        line = refused("train", "boostformer_b0", "--data", "data", "--size", "32x64", "--out", "file/net")
        assert "file/net: cannot be written" in line

    def test_a_checkpoint_of_another_version(self, refused: Refused) -> None:
        checkpoint()
        config = json.loads(Path("net/config.json").read_text())
        Path("net/config.json").write_text(json.dumps(config | {"version": 7}))
        line = refused("evaluate", "net", "--data", "data")
        assert "checkpoint version 7 cannot be read, allowed: 2" in line

    def test_a_corrupted_checkpoint(self, refused: Refused) -> None:
        checkpoint()
        file = Path("net/model.safetensors")
        file.write_bytes(file.read_bytes()[:1000])
        assert "model.safetensors: corrupted" in refused("export", "net", "--out", "net.onnx")

    @pytest.mark.parametrize("key", ["architecture", "labels", "provenance", "weights_sha256"])
    def test_a_checkpoint_without_a_part_of_its_config(self, refused: Refused, key: str) -> None:
        checkpoint()
        config = json.loads(Path("net/config.json").read_text())
        Path("net/config.json").write_text(json.dumps({k: v for k, v in config.items() if k != key}))
        assert f"net/config.json: corrupted: {key}" in refused("profile", "net")

    def test_a_checkpoint_with_a_block_that_does_not_exist(self, refused: Refused) -> None:
        checkpoint()
        config = json.loads(Path("net/config.json").read_text())
        config["architecture"]["stages"][1]["mixer"] = {"block": "poling"}
        Path("net/config.json").write_text(json.dumps(config))
        line = refused("evaluate", "net")
        assert (
            "net/config.json: architecture: stages.1.mixer.block: unknown mixer 'poling'; did you mean 'pooling'?"
            in line
        )

    def test_import_never_writes_over_anything(self, refused: Refused, shared: Path) -> None:
        theirs = shared / "golden" / "segformer_tiny"
        assert "already holds a config.json" in refused("import", theirs, "--out", theirs)
        checkpoint()
        before = Path("net/config.json").read_text()
        assert "net already holds a config.json" in refused("import", theirs, "--out", "net")
        assert Path("net/config.json").read_text() == before
        Path("file").write_text("")
        assert "file/net: cannot be written" in refused("import", theirs, "--out", "file/net")
        assert "file/config.json: no such file" in refused("import", "file", "--out", "new")

    def test_predictions_that_would_overwrite_each_other(self, refused: Refused) -> None:
        checkpoint()
        images = [f"data/images/{split}/0.jpg" for split in ("training", "validation")]
        assert "into the same file" in refused("predict", "net", *images, "--out", "pictures")

    def test_a_run_without_a_trial(self, refused: Refused) -> None:
        Path("out").mkdir()
        Path("out/journal.log").write_text("")
        assert "name one of its trials too: out:TRIAL" in refused("profile", "out")

    def test_a_network_named_twice_or_by_no_rule(self, refused: Refused) -> None:
        assert "--trial, --pick: give one" in refused("retrain", "out", "--out", "net", "--trial", 4, "--pick", "knee")
        line = refused("retrain", "out", "--out", "net", "--pick", "knees")
        assert "--pick: unknown rule 'knees'; did you mean 'knee'" in line

    def test_a_checkpoint_for_other_classes(self, refused: Refused) -> None:
        checkpoint(classes=5)
        assert "has 3 classes, but the checkpoint has 5" in refused("evaluate", "net", "--data", "data")

    def test_a_size_that_a_block_cannot_do(self, refused: Refused) -> None:
        arch = presets.load("boostformer_b0", classes=3, size=(64, 64))
        second = replace(arch.stages[1], mixer=BlockSpec.of("efficient_attention", reduction=8))
        build(replace(arch, stages=(arch.stages[0], second, *arch.stages[2:]))).save_pretrained("net")
        for arguments in (
            ("profile", "net"),
            ("export", "net", "--out", "net.onnx"),
            ("predict", "net", "data/images/training/0.jpg", "--out", "pictures"),
            ("evaluate", "net", "--data", "data"),
        ):
            line = refused(*arguments, "--size", "32x64")
            assert line == "--size: stages.1.mixer: reduction 8 is larger than the map of 4x8"
        line = refused("train", "net", "--data", "data", "--size", "32x64", "--out", "other")
        assert line.endswith("stages.1.mixer: reduction 8 is larger than the map of 4x8")

    def test_a_damaged_picture_to_predict(self, refused: Refused) -> None:
        checkpoint()
        Path("broken.jpg").write_bytes(b"\xff\xd8\xff")
        assert "broken.jpg" in refused("predict", "net", "broken.jpg", "--out", "pictures")
        assert "none.jpg: no such file" in refused("predict", "net", "none.jpg", "--out", "pictures")

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (("profile", "segformer_b9"), "presets: did you mean 'segformer_b"),
            (("profile", "segformer_b0", "--size", "512"), "--size: '512' is not a size"),
            (("export", "net", "--out", "net.bin"), "must end in .onnx"),
            (
                ("export", "net", "--out", "net.onnx", "--opset", "9"),
                "--opset: 9 cannot be written; allowed: 13, 17, 18",
            ),
            (("evaluate", "net", "--data", "data", "--split", "tests"), "--split: unknown 'tests'"),
            (("evaluate", "net", "--data", "nowhere"), "--data: 'nowhere' is not a folder"),
            (("evaluate", "net"), "--data is missing"),
            (("train", "segformer_b0", "--data", "data", "--recipe", "quick", "--out", "x"), "unknown recipe 'quick'"),
            (("train", "segformer_b0", "--data", "data", "--lr", "-1", "--out", "x"), "--lr: -1"),
        ],
    )
    def test_arguments(self, refused: Refused, arguments: tuple[str, ...], expected: str) -> None:
        checkpoint()
        assert expected in refused(*arguments)


PLACES = [
    ("pareto", "PLACE"),
    ("trust", "PLACE"),
    ("worker", "PLACE"),
    ("search", "PLACE", "--out", "out"),
    ("search", "run.yaml", "--out", "PLACE"),
    ("retrain", "PLACE", "--out", "new"),
    ("profile", "PLACE"),
    ("profile", "PLACE:3"),
    ("space", "PLACE"),
    ("space", "tiny", "--run", "PLACE"),
    ("train", "segformer_b0", "--data", "PLACE", "--out", "new"),
    ("train", "PLACE", "--data", "data", "--out", "new"),
    ("train", "segformer_b0", "--data", "data", "--init", "PLACE", "--out", "new"),
    ("train", "segformer_b0", "--data", "data", "--teacher", "PLACE", "--out", "new"),
    ("pretrain", "segformer_b0", "--data", "PLACE", "--out", "new"),
    ("evaluate", "PLACE"),
    ("evaluate", "net", "--data", "PLACE"),
    ("predict", "PLACE", "data/images/training/0.jpg", "--out", "new"),
    ("predict", "net", "PLACE", "--out", "new"),
    ("export", "PLACE", "--out", "net.onnx"),
    ("import", "PLACE", "--out", "new"),
    ("compare", "PLACE"),
    ("latency", "measure", "PLACE"),
    ("data", "check", "PLACE"),
]
"""Commands that look at a path which the user gives."""


@pytest.mark.parametrize("arguments", PLACES, ids=" ".join)
@pytest.mark.parametrize("place", ["locked/inner", "x" * 300])
def test_a_place_that_cannot_be_reached(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], place: str
) -> None:
    checkpoint()
    stat = os.stat

    def locked(path: Any, *rest: Any, **options: Any) -> os.stat_result:
        if not isinstance(path, int) and "locked/" in os.fspath(path):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return stat(path, *rest, **options)

    Path("locked").mkdir()
    monkeypatch.setattr(os, "stat", locked)  # as root nothing else refuses
    assert place in refused(*(word.replace("PLACE", place) for word in arguments))


def checkpoint(classes: int = 3) -> BoostFormer:
    model = build(presets.load("boostformer_b0", classes=classes, size=(32, 64)))
    model.save_pretrained("net")
    return model
