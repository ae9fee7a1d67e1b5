"""Shapes of annotations, drawn: which pixels are theirs, and that none takes more memory than its mask."""

from __future__ import annotations

import base64
import io
import tracemalloc
import zlib
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from boostformer.data.formats.coco_json import runs_of
from boostformer.data.shapes import Bitmap, PixelPolygon, Polygon, Runs, Shape
from boostformer.errors import UserError


def drawn(shape: Shape, size: tuple[int, int] = (40, 50), scale: tuple[float, float] = (1, 1)) -> np.ndarray:
    mask = np.zeros(size, np.uint16)
    shape.draw(mask, scale, "here")
    return mask


def outline(*points: tuple[float, float]) -> tuple[float, ...]:
    return tuple(coordinate for point in points for coordinate in point)


@given(st.integers(0, 45), st.integers(0, 35), st.integers(1, 50), st.integers(1, 40), st.booleans())
def test_a_rectangle_with_whole_corners_is_exactly_its_pixels(
    left: int, top: int, width: int, height: int, turned: bool
) -> None:
    right, bottom = min(left + width, 50), min(top + height, 40)
    points = [(left, top), (right, top), (right, bottom), (left, bottom)][:: -1 if turned else 1]
    expected = np.zeros((40, 50), np.uint16)
    expected[top:bottom, left:right] = 3
    found = drawn(Polygon(3, (outline(*points),)))
    assert (found == expected).all()
    encoded = coco.frPyObjects([list(map(float, outline(*points)))], 40, 50)
    assert (coco.decode(coco.merge(encoded)) == (found > 0)).all()


@given(st.lists(st.tuples(st.floats(-20, 70), st.floats(-20, 60)), min_size=3, max_size=12))
def test_a_pixel_is_inside_when_its_centre_is(points: list[tuple[float, float]]) -> None:
    found = drawn(Polygon(1, (outline(*points),)))
    x, y = np.meshgrid(np.arange(50) + 0.5, np.arange(40) + 0.5)
    inside, doubtful = np.zeros((40, 50), bool), np.zeros((40, 50), bool)
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            at = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
            crossed = (y0 <= y) != (y1 <= y)
        inside ^= crossed & (at <= x)
        doubtful |= crossed & (abs(at - x) < 1e-9)
    assert ((found > 0) == inside)[~doubtful].all()


def test_outlines_agree_with_cocos_tools_but_for_their_borders() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        turns = np.sort(rng.uniform(0, 2 * np.pi, 9))
        points = np.stack([100 + 80 * np.cos(turns), 100 + 80 * np.sin(turns)], axis=1).ravel().tolist()
        found = drawn(Polygon(1, (points,)), (200, 200)) > 0
        expected = coco.decode(coco.merge(coco.frPyObjects([points], 200, 200))) > 0
        assert (found & expected).sum() / (found | expected).sum() > 0.98


def test_later_rings_are_holes_and_neighbours_share_no_pixel() -> None:
    square, hole = outline((0, 0), (10, 0), (10, 10), (0, 10)), outline((2, 2), (6, 2), (6, 6), (2, 6))
    assert drawn(Polygon(1, (square, hole))).sum() == 100 - 16
    corner = (23.7, 17.3)
    parts = [Polygon(1, (outline((0, 0), (50, 0), corner),)), Polygon(1, (outline((50, 0), (50, 40), corner),))]
    parts += [Polygon(1, (outline((50, 40), (0, 40), corner),)), Polygon(1, (outline((0, 40), (0, 0), corner),))]
    assert (sum(map(drawn, parts)) == 1).all()


def test_coordinates_may_be_shares_of_the_size() -> None:
    found = drawn(Polygon(1, (outline((0.5, 0), (1, 0), (1, 0.5), (0.5, 0.5)),)), scale=(50, 40))
    assert found[:20, 25:].all() and found.sum() == 500


@pytest.mark.parametrize("kind", [Polygon, PixelPolygon])
def test_far_coordinates_take_no_memory(kind: type[Polygon]) -> None:
    tracemalloc.start()
    found = drawn(kind(1, (outline((-1e6, -1e6), (1e6, -1e6), (1e6, 1e6), (-1e6, 1e6)),)))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.all() and most < 1 << 20


def test_many_edges_are_drawn_in_bounded_memory() -> None:
    x = np.repeat(np.arange(3_000) * 0.13, 2)
    zigzag = np.stack([x, np.tile([0.0, 390.0, 390.0, 0.0], 1_500)], axis=1)
    points = array("d", np.concatenate([zigzag, [[400, 395], [0, 395]]]).ravel().tolist())
    tracemalloc.start()
    found = drawn(Polygon(1, (points,)), (400, 400))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[391:394].all() and most < 60 << 20


def test_what_has_no_inside_draws_nothing() -> None:
    for ring in ((), outline((1, 1), (9, 9)), outline((1, 1), (9, 9), (1, 1)), outline((1, 60), (9, 60), (5, 90))):
        assert not drawn(Polygon(1, (ring,))).any()


def test_an_outline_of_pixels_holds_them() -> None:
    ring, hole = outline((2, 3), (11, 3), (11, 12), (2, 12)), outline((4, 5), (6, 5), (6, 7), (4, 7))
    found = drawn(PixelPolygon(1, (ring, hole)))
    expected = np.zeros((40, 50), int)
    expected[3:13, 2:12], expected[5:8, 4:7] = 1, 0
    assert (found == expected).all()


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.99))
def test_runs_as_cocos_tools_write_them_are_read(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    expected = np.asfortranarray(rng.random((40, 50)) < share, np.uint8)
    text = coco.encode(expected)["counts"].decode()
    shape = runs_of({"size": [40, 50], "counts": text}, 1, (40, 50), "here")
    assert (drawn(shape) == expected).all()
    assert drawn(Runs(1, (3, 4, 2, 3), (1, 2, 1, 2)))[4:7, 3:5].tolist() == [[0, 1], [1, 0], [1, 1]]


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


@pytest.mark.parametrize("mode", ["bool", "grey", "alpha"])
def test_a_bitmap_lies_at_its_origin_and_is_cut_at_the_border(mode: str) -> None:
    inside = np.random.default_rng(0).random((6, 9)) < 0.5
    alpha = np.dstack([np.full((6, 9, 3), 7), inside * 255]).astype(np.uint8)
    data = png({"bool": inside, "grey": inside.astype(np.uint8) * 200, "alpha": alpha}[mode])
    assert (drawn(Bitmap(1, (5, 7), packed(data), True))[7:13, 5:14] == inside).all()
    plain = Bitmap(1, (-4, 37), base64.b64encode(data).decode(), False)
    found = drawn(plain)
    assert (found[37:, :5] == inside[:3, 4:]).all() and found.sum() == inside[:3, 4:].sum()
    for origin in ((-100, -100), (100, 100), (-(10**6), 10**6)):
        assert not drawn(Bitmap(1, origin, packed(data), True)).any()


@pytest.mark.parametrize(
    "data",
    [
        "no base64!",
        "ü",
        base64.b64encode(b"no zlib").decode(),
        packed(b"no PNG"),
        packed(png(np.ones((4, 4), np.uint8))[:-20]),
        packed(png(np.ones((41, 4), np.uint8))),
        packed(png(np.ones((4, 4), np.uint8)))[:40],
    ],
)
def test_a_damaged_or_larger_bitmap_is_refused(data: str) -> None:
    with pytest.raises(UserError, match="^here: a bitmap"):
        drawn(Bitmap(1, (0, 0), data, True))


def test_a_compressed_bomb_is_refused_before_it_unfolds() -> None:
    bomb = packed(bytes(20 << 20))
    tracemalloc.start()
    with pytest.raises(UserError, match="larger than its image"):
        drawn(Bitmap(1, (0, 0), bomb, True))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 << 20


def test_the_content_of_shapes_differs_when_they_do() -> None:
    ring = (0.0, 0.0, 4.0, 0.0, 4.0, 4.0)
    shapes = [
        Polygon(1, (ring,)),
        Polygon(2, (ring,)),
        Polygon(1, (ring, ring)),
        Polygon(1, (ring + ring,)),
        PixelPolygon(1, (ring,)),
        Runs(1, (0, 0, 2, 2), (1, 3)),
        Runs(1, (0, 0, 2, 2), (1, 3), by_column=True),
        Bitmap(1, (0, 0), "a", False),
        Bitmap(1, (0, 0), "a", True),
    ]
    assert len({shape.content() for shape in shapes}) == len(shapes)
    assert Polygon(1, (ring,)).content() == Polygon(1, (array("d", ring),)).content()
