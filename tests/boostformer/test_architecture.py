"""`Architecture`: exact round trips, a content id, and what it refuses."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from boostformer import presets
from boostformer.architecture import Architecture, BlockSpec, Decoder, Stage
from boostformer.blocks import registry
from boostformer.errors import UserError

LETTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
"""All but what no name or path may have."""

specs = st.builds(
    lambda name, options: BlockSpec.of(name, **options),
    st.text(LETTERS, min_size=1, max_size=8),
    st.dictionaries(
        st.sampled_from(["heads", "ratio", "kernel", "normalised", "factor"]),
        st.one_of(
            st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text(LETTERS, max_size=5)
        ),
    ),
)
counts = st.integers(1, 250)
stages = st.builds(
    Stage,
    embed=specs,
    width=counts,
    depth=counts,
    mixer=specs,
    ffn=specs,
    norm=st.sampled_from(["layer", "batch", "group"]),
    arrangement=st.sampled_from(["pre", "post"]),
    layer_scale=st.booleans(),
    local_connection=st.booleans(),
)
sides = st.integers(32, 4096)
architectures = st.builds(
    Architecture,
    stages=st.tuples(stages, stages, stages, stages),
    decoder=st.builds(Decoder, fusion=specs, width=counts),
    classes=counts,
    size=st.tuples(sides, sides),
    stem=specs,
    bands=st.sampled_from([3, 3, 1, 4, 13]),
)


@given(architectures)
def test_round_trips_are_exact_in_every_form(arch: Architecture) -> None:
    for back in (
        Architecture.from_dict(arch.to_dict()),
        Architecture.from_json(arch.to_json()),
        Architecture.from_yaml(arch.to_yaml()),
    ):
        assert back == arch
        assert back.id == arch.id


@given(architectures, architectures)
def test_the_id_is_equal_exactly_when_the_networks_are(one: Architecture, other: Architecture) -> None:
    assert (one.id == other.id) == (one.to_json() == other.to_json())


def test_bands_are_written_where_they_are_not_three() -> None:
    rgb = presets.load("segformer_b0")
    assert "bands" not in rgb.to_dict() and rgb.replace(bands=3) == rgb
    assert Architecture.from_dict(rgb.to_dict() | {"bands": 3}).id == rgb.id
    grey = rgb.replace(bands=1)
    assert grey.to_dict()["bands"] == 1 and grey.id != rgb.id
    with pytest.raises(UserError, match="bands: 0 is not a whole number of at least 1"):
        Architecture.from_dict(rgb.to_dict() | {"bands": 0})


def test_the_id_depends_on_classes_and_size_and_stays_what_it_is() -> None:
    base = presets.load("segformer_b0")
    assert len({base.id, base.replace(classes=19).id, base.replace(size=(512, 1024)).id}) == 3
    # Files and studies refer to ids.
    assert base.id == "b88732916772"


def test_map_sizes_round_up() -> None:
    assert presets.load("segformer_b0", size=(97, 130)).map_sizes() == [(25, 33), (13, 17), (7, 9), (4, 5)]


def test_the_maps_are_those_behind_the_stem() -> None:
    base = presets.load("segformer_b0", size=(97, 130))
    assert base.stem == BlockSpec("none") and base.stem_size == (97, 130)
    halved = replace(base, stem=BlockSpec.of("resizer", shrink=2))
    assert halved.stem_size == (49, 65)
    assert halved.map_sizes() == [(13, 17), (7, 9), (4, 5), (2, 3)]
    kept = replace(base, stem=BlockSpec.of("resizer", shrink=1))
    assert (kept.stem_size, kept.map_sizes()) == ((97, 130), base.map_sizes())


def test_a_file_of_version_1_is_the_network_it_was() -> None:
    """It has no stem, no local connections, and none of the options that blocks did not have yet."""
    for name in ("segformer_b2", "boostformer"):
        preset = presets.load(name)
        data = preset.to_dict() | {"version": 1}
        del data["stem"]
        for stage in data["stages"]:
            del stage["local_connection"]
            assert stage["mixer"].pop("project", None) in (None, stage["mixer"]["block"] == "efficient_attention")
            assert stage["mixer"].pop("kernel", 3) == 3
            assert stage["ffn"].pop("kernel", 3) == 3
            assert stage["ffn"].pop("activation") == "gelu"
        old = Architecture.from_dict(data)
        assert not any(stage.local_connection for stage in old.stages) and old.stem == BlockSpec("none")
        assert registry.complete(old) == preset
        assert registry.complete(old).to_dict()["version"] == 2


def test_the_presets_spell_everything_out() -> None:
    for name in presets.names():
        assert registry.complete(presets.load(name)) == presets.load(name)


def _change(change: dict) -> dict:
    data = copy.deepcopy(presets.load("segformer_b0").to_dict())
    for path, value in change.items():
        *parents, last = path.split("/")
        place = data
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return data


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": 3}, "version: 3 cannot be read, allowed: 1, 2"),
        ({"version": "2"}, "version: '2' is not of type int"),
        ({"version": None}, "version: missing"),
        ({"clases": 3}, "clases: unknown key; did you mean 'classes'?"),
        ({"classes": 0}, "classes: 0 is not a whole number of at least 1"),
        ({"classes": "many"}, "classes: 'many' is not a whole number of at least 1"),
        ({"classes": True}, "classes: true is not a whole number of at least 1"),
        ({"size": [512]}, "size: [512] is not a size: write HEIGHTxWIDTH in pixels, such as 512x512, both at least 32"),
        ({"size": [16, 512]}, "size: [16, 512] is not a size: "),
        ({"stages": []}, "stages: 0 given, exactly 4 allowed"),
        ({"stages/1/norm": "leyer"}, "stages.1.norm: unknown 'leyer'; did you mean 'layer'?"),
        ({"stages/2/mixer": {"heads": 2}}, "stages.2.mixer.block: missing"),
        ({"stages/2/mixer": "mhsa"}, "stages.2.mixer: 'mhsa' is not of type dict"),
        ({"stages/1/local_connection": 1}, "stages.1.local_connection: 1 is not of type bool"),
        (
            {"stages/1/local_conection": True},
            "stages.1.local_conection: unknown key; did you mean 'local_connection'? allowed: embed, width, depth, "
            "mixer, ffn, norm, arrangement, layer_scale, local_connection",
        ),
        ({"stem": "none"}, "stem: 'none' is not of type dict"),
        ({"stem": {"shrink": 2}}, "stem.block: missing"),
        ({"stages/0/depth": -1}, "stages.0.depth: -1 is not a whole number of at least 1"),
        ({"decoder/fusion": {"block": "concat", "a": [1]}}, "decoder.fusion.a: [1] is not a number"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(change: dict, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        Architecture.from_dict(_change(change), "net.yaml")
    assert str(caught.value).startswith(f"net.yaml: {expected}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "a: [", "", "- 1"])
def test_text_that_is_no_architecture_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"net\.yaml"):
        Architecture.from_yaml(text, "net.yaml")


def test_yaml_is_plain() -> None:
    assert yaml.safe_load(presets.load("boostformer").to_yaml())["decoder"]["fusion"]["block"] == "weighted_sum"


def test_reading_an_architecture_does_not_load_torch() -> None:
    code = "import sys, boostformer.presets as p; p.load('boostformer').id; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
