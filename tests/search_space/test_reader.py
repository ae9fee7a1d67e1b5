"""What is wrong in a space file is said in one line, with its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boostformer.architecture import BlockSpec
from boostformer.blocks import registry
from boostformer.errors import UserError
from search_space import read_space, space_from_dict, space_from_yaml

GOOD = """\
version: 1
size: 64x96
classes: 5
stages:
  - width: [16, 32]
    depth:
      - 1
      - 2
    embed: {overlap_conv: {kernel: 7}}
    mixer:
      efficient_attention:
        heads: [1, 2]
        reduction: 8
      pooling:
    ffn: {mix_ffn: {ratio: [2, 4]}}
    norm: [layer, batch]
    layer_scale: [false, true]
  - &plain {width: 32, depth: 1, embed: {pooling: {}}, mixer: {pooling: {}}, ffn: {mix_cfn: {}}}
  - *plain
  - *plain
decoder: {width: 32, fusion: {concat: {}, weighted_sum: {normalised: [false, true]}}}
"""

MISTAKES = [
    # (text, what stands there instead, line, message)
    ("version: 1\n", "", 1, "top level: key 'version' is missing, required: version, size, classes, stages, decoder"),
    ("version: 1", "version: 2", 1, "version: version 2 cannot be read, allowed: 1"),
    ("version: 1", "version: one", 1, "version: version 'one' cannot be read, allowed: 1"),
    ("size: 64x96", "size: 64", 2, "size: 64 is not a size: write HEIGHTxWIDTH in pixels"),
    ("size: 64x96", "size: 64x16", 2, "size: '64x16' is not a size: write HEIGHTxWIDTH in pixels"),
    ("size: 64x96", "size: [64, 96]", 2, "size: is not a single value"),
    ("classes: 5", "classes: 0", 3, "classes: 0 is not a whole number of at least 1"),
    ("classes: 5", "classes: [5]", 3, "classes: is not a single value"),
    ("classes: 5", "classes: 5\nclases: 6", 4, "clases: unknown key 'clases'; did you mean 'classes'? allowed: "),
    ("classes: 5", "classes: 5\nclasses: 6", 4, "classes: given twice, first on line 3"),
    ("stages:\n", "stages:\n  - *plain\n", None, "not YAML: found undefined alias"),
    ("  - *plain\ndecoder", "decoder", 4, "stages: 3 given, exactly 4 must be listed"),
    ("width: [16, 32]", "width: [16, 32.0]", 5, "stages.0.width: 32.0 is not a whole number of at least 1"),
    ("width: [16, 32]", "width: [true]", 5, "stages.0.width: true is not a whole number of at least 1"),
    ("width: [16, 32]", "width: [16, 32, 16]", 5, "stages.0.width: 16 is listed twice"),
    ("width: [16, 32]", "width: []", 5, "stages.0.width: the list is empty, at least one value is needed"),
    ("width: [16, 32]", "width:", 5, "stages.0.width: None is not a whole number of at least 1"),
    ("width: [16, 32]", "width: {16: 32}", 5, "stages.0.width: is not a value or a list of values"),
    ("width: [16, 32]", "width: [[16], 32]", 5, "stages.0.width: is not a single value"),
    ("width: [16, 32]", "width: [16, 2020-13-13]", 5, "stages.0.width: '2020-13-13' cannot be read as a value"),
    ("width: [16, 32]", "width: [16, !!int x]", 5, "stages.0.width: 'x' cannot be read as a value"),
    ("width: [16, 32]", "width: [16, !new x]", 5, "stages.0.width: 'x' cannot be read as a value"),
    ("      - 2\n", "      - two\n", 8, "stages.0.depth: 'two' is not a whole number of at least 1"),
    ("    depth:\n      - 1\n      - 2\n", "", 5, "stages.0: key 'depth' is missing, required: width, depth, "),
    ("norm: [layer", "nrom: [layer", 16, "stages.0.nrom: unknown key 'nrom'; did you mean 'norm'? allowed: width, "),
    ("norm: [layer, batch]", "norm: bach", 16, "stages.0.norm: unknown 'bach'; did you mean 'batch'? allowed: layer, "),
    ("[false, true]\n  -", "[false, 1]\n  -", 17, "stages.0.layer_scale: 1 is not allowed, allowed: false, true"),
    ("heads: [1, 2]", "heads: [1, 7]", 12, "stages.0.mixer.efficient_attention.heads: 7 is not allowed, allowed: 1, "),
    ("heads: [1, 2]", "heads: [1, '2']", 12, "stages.0.mixer.efficient_attention.heads: unknown '2'; "),
    (
        "heads: [1, 2]",
        "head: [1, 2]",
        12,
        "stages.0.mixer.efficient_attention.head: 'efficient_attention' has no option"
        " 'head'; did you mean 'heads'? allowed: heads, reduction",
    ),
    (
        "      pooling:\n",
        "      pooling: {pool: 3}\n",
        14,
        "stages.0.mixer.pooling.pool: 'pooling' has no option 'pool'; allowed: kernel",
    ),
    (
        "      pooling:\n",
        "      identity: {pool: 3}\n",
        14,
        "stages.0.mixer.identity.pool: 'identity' has no option 'pool'; it has none",
    ),
    (
        "      pooling:\n",
        "      poling:\n",
        14,
        "stages.0.mixer.poling: unknown mixer 'poling'; did you mean 'pooling'? ",
    ),
    ("      pooling:\n", "      pooling: 3\n", 14, "stages.0.mixer.pooling: is not a mapping of option names to their"),
    ("      pooling:\n", "      [a]: 3\n", 14, "stages.0.mixer.?: a key must be a word"),
    (
        "heads: [1, 2]",
        "heads: [1, 3]",
        11,
        "stages.0.mixer.efficient_attention: width 16 with heads 3, project true, reduction 8"
        " is not allowed: heads 3 does not divide width 16",
    ),
    (
        "{width: 32, depth: 1, embed: {pooling: {}}, mixer: {pooling: {}}, ffn: {mix_cfn: {}}}",
        "{width: [32, 33], depth: 1, embed: {pooling: {}}, mixer: {pooling: {}}, ffn: {mix_cfn: {ratio: [2, 3]}}}",
        18,
        "stages.1.ffn.mix_cfn: width 33 with activation gelu, ratio 3 is not allowed: ratio 3 times width 33 is odd",
    ),
    (
        "ffn: {mix_ffn: {ratio: [2, 4]}}",
        "ffn: mix_ffn",
        15,
        "stages.0.ffn: is not a mapping of block names to their options, such as {pooling: {}}",
    ),
    ("ffn: {mix_ffn: {ratio: [2, 4]}}", "ffn: {}", 15, "stages.0.ffn: no block is given, allowed: conv_mlp, mix_cfn, "),
    (
        "{concat: {}, weig",
        "{concatenate: {}, weig",
        21,
        "decoder.fusion.concatenate: unknown fusion 'concatenate'; did"
        " you mean 'concat'? allowed: concat, weighted_sum",
    ),
    (
        "[false, true]\n  -",
        "[false, true]\n    local_connection: maybe\n  -",
        18,
        "stages.0.local_connection: unknown 'maybe'; allowed: false, true",
    ),
    ("classes: 5", "classes: 5\nstem: resizer", 4, "stem: is not a mapping of block names to their options, such as"),
    ("classes: 5", "classes: 5\nstem: {}", 4, "stem: no block is given, allowed: none, resizer"),
    ("classes: 5", "classes: 5\nstem: {non: {}}", 4, "stem.non: unknown stem 'non'; did you mean 'none'? allowed: "),
    (
        "classes: 5",
        "classes: 5\nstem:\n  resizer: {shrink: [1, 4]}",
        5,
        "stem.resizer.shrink: 4 is not allowed, allowed: 1, 2",
    ),
    ("decoder: {width: 32, ", "decoder: {", 21, "decoder: key 'width' is missing, required: width, fusion"),
    ("decoder: {width: 32, ", "decoder: {width: 32, norm: batch, ", 21, "decoder.norm: unknown key 'norm'; allowed: "),
    ("decoder: {", "decoder: [", 21, "not YAML: "),
    ("classes: 5", "classes: 5\x07", None, "not YAML: "),
    (GOOD, "- a list", 1, "top level: is not a mapping of the keys version, size, classes, stages, decoder"),
    (GOOD, "a word", 1, "top level: is not a mapping of the keys version, size, classes, stages, decoder"),
    (GOOD, "# nothing\n", None, "empty, a space must have the keys: version, size, classes, stages, decoder"),
]


def test_the_good_file_is_good() -> None:
    space = space_from_yaml(GOOD, "good.yaml")
    # widths, depths, mixers, ratios, norms, layer scales, fusions
    assert space.count == 2 * 2 * (2 + 1) * 2 * 2 * 2 * 3
    assert (space.size, space.classes) == ((64, 96), 5)
    assert space.slots["stages.0.arrangement"] == ("pre",) and space.slots["stages.3.norm"] == ("layer",)
    assert space.slots["stages.0.local_connection"] == (False,) and space.slots["stem"] == (BlockSpec("none"),)


@pytest.mark.parametrize(("old", "new", "line", "message"), MISTAKES, ids=lambda v: str(v)[:40].replace("\n", " "))
def test_mistakes_are_reported_with_their_place(old: str, new: str, line: int | None, message: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(UserError) as caught:
        space_from_yaml(GOOD.replace(old, new), "my.yaml")
    text = str(caught.value)
    assert "\n" not in text
    if line is None:
        assert re.match(r"my\.yaml(:\d+)?: " + re.escape(message), text), text
    else:
        assert text.startswith(f"my.yaml:{line}: {message}"), text


def test_options_left_out_take_the_defaults_of_the_blocks() -> None:
    space = space_from_yaml(GOOD)
    (spec,) = space.slots["stages.1.ffn"]
    assert dict(spec.options) == registry.get("ffn", "mix_cfn").defaults


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**6), st.sampled_from(["", "x", "- ", ": 3", "[", "{", "&a", "*a", "\t", "true", "\n"])
        ),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=150)
def test_a_damaged_file_is_read_or_refused_in_one_line(edits: list[tuple[int, str]]) -> None:
    text = GOOD
    for place, inserted in edits:
        at = place % len(text)
        text = text[:at] + inserted + text[at + 1 :]
    try:
        space_from_yaml(text, "my.yaml")
    except UserError as error:
        assert str(error).startswith("my.yaml") and "\n" not in str(error)


def test_plain_values_are_checked_like_files() -> None:
    data = space_from_yaml(GOOD).to_dict()
    data["stages"][2]["mixer"] = {"mhsa": {"heads": [1, 5]}}
    with pytest.raises(UserError) as caught:
        space_from_dict(data, "config of the study")
    reason = "width 32 with heads 5, project true is not allowed: heads 5 does not divide width 32"
    assert str(caught.value) == f"config of the study: stages.2.mixer.mhsa: {reason}"
    with pytest.raises(UserError, match="config: holds values that YAML cannot express"):
        space_from_dict({"version": object()}, "config")


def test_files_are_read_by_path_and_named_in_errors(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD)
    assert read_space(file) == read_space(str(file)) == space_from_yaml(GOOD)
    file.write_text(GOOD.replace("depth: 1", "dept: 1"))
    with pytest.raises(UserError, match=rf"^{re.escape(str(file))}:18: stages.1.dept: unknown key 'dept'"):
        read_space(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8 text"):
        read_space(file)
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_space(tmp_path)


def test_unknown_spaces_name_the_shipped_ones() -> None:
    message = "boostformer_b3: neither a file nor a shipped space; did you mean 'boostformer_b"
    with pytest.raises(UserError, match=message) as caught:
        read_space("boostformer_b3")
    assert str(caught.value).endswith("allowed: boostformer_b0, boostformer_b2, tiny")
