"""Architecture files: complete when they are read, and mistakes are reported with their line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boostformer import presets
from boostformer.architecture import BlockSpec
from boostformer.architecture_file import read_architecture
from boostformer.errors import UserError

STAGE = """
  - embed: {block: overlap_conv, kernel: 7}
    width: 32
    depth: 2
    mixer:
      block: efficient_attention
      reduction: 4
    ffn: {block: mix_ffn}
    norm: layer
    arrangement: pre
    layer_scale: false"""
GOOD = f"""version: 2
size: 64x96
classes: 5
stages:{STAGE}{STAGE.replace("reduction: 4", "heads: 2")}{STAGE.replace("reduction: 4", "heads: 2")}{
    STAGE.replace("reduction: 4", "heads: 2")
}
decoder:
  width: 64
  fusion: {{block: weighted_sum}}
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "net.yaml"
    file.write_text(text)
    return file


def test_options_left_out_are_there_once_it_is_read(tmp_path: Path) -> None:
    arch = read_architecture(written(tmp_path, GOOD))
    assert arch.size == (64, 96) and not arch.stages[0].local_connection
    assert arch.stages[1].mixer == BlockSpec.of("efficient_attention", heads=2, reduction=1, project=True)
    assert arch.decoder.fusion == BlockSpec.of("weighted_sum", normalised=False)


@pytest.mark.parametrize("name", presets.names())
@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_preset_written_to_a_file_is_the_preset(tmp_path: Path, name: str, suffix: str) -> None:
    preset, file = presets.load(name), tmp_path / f"net.{suffix}"
    file.write_text(preset.to_yaml() if suffix == "yaml" else preset.to_json())
    assert read_architecture(file) == preset


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("version: 2", "version: 3", 1, "version: 3 cannot be read, allowed: 1, 2"),
        ("size: 64x96", "size: 64", 2, "size: 64 is not a size: write HEIGHTxWIDTH"),
        ("classes: 5", "clases: 5", 3, "clases: unknown key; did you mean 'classes'?"),
        ("classes: 5", "classes: 5\nclasses: 6", 4, "classes: given twice, first on line 3"),
        ("width: 32", "width: wide", 6, "stages.0.width: 'wide' is not a whole number of at least 1"),
        ("norm: layer", "norm: leyer", 12, "stages.0.norm: unknown 'leyer'; did you mean 'layer'?"),
        ("    norm: layer\n", "", 5, "stages.0.norm: missing"),
        ("block: efficient_attention", "block: eficient_attention", 9, "stages.0.mixer.block: unknown mixer 'efic"),
        ("reduction: 4", "reduction: 5", 10, "stages.0.mixer.reduction: 5 is not allowed for 'efficient_attention'"),
        ("reduction: 4", "reductio: 4", 10, "stages.0.mixer.reductio: 'efficient_attention' has no such option; did"),
        ("reduction: 4", "heads: 5", 8, "stages.0.mixer: heads 5 does not divide width 32"),
        ("block: weighted_sum", "block: weighted_sum, a: [1]", 47, "decoder.fusion.a: [1] is not a number"),
        ("decoder:", "decoder: {width: 1, width", 46, "not YAML: "),
    ],
)
def test_mistakes_are_one_line_that_names_the_place(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    file = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        read_architecture(file)
    assert str(caught.value).startswith(f"{file}:{line}: {message}")
    assert "\n" not in str(caught.value)


def test_mistakes_in_json_name_the_key(tmp_path: Path) -> None:
    file, data = tmp_path / "net.json", presets.load("segformer_b0").to_dict()
    data["stages"][1]["mixer"]["heads"] = 7
    file.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"net\.json: stages\.1\.mixer\.heads: 7 is not allowed"):
        read_architecture(file)
    file.write_text("{")
    with pytest.raises(UserError, match=r"net\.json: not JSON"):
        read_architecture(file)
