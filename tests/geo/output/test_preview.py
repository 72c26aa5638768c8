"""The picture of a scene beside its map."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageDraw

from hyseg_cli.geo.output import preview as drawing
from hyseg_cli.geo.output.preview import Preview, draw_preview

LEGEND = (("water 10.0 %", (10, 60, 250)), ("land 90.0 %", (200, 180, 20)))


def make(height=120, width=160, **changes):
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (2, height, width, 3), np.uint8)
    values = {
        "pictures": (("scene.tif", colors[0]), ("map.tif", colors[1])),
        "legend": LEGEND,
        "pixel_m": 2.0,
        "north": (0.0, -1.0),
        "lines": ("WGS 84 / UTM zone 32N",),
    }
    return Preview(**{**values, **changes})


def places_of(canvas, colors):
    """Where a picture lies on the canvas, pixel by pixel."""
    height, width = colors.shape[:2]
    corner = (canvas[..., :] == colors[0, 0]).all(axis=-1)
    return [
        (int(y), int(x))
        for y, x in np.argwhere(corner)
        if canvas[y : y + height, x : x + width].shape == colors.shape
        and (canvas[y : y + height, x : x + width] == colors).all()
    ]


@pytest.mark.parametrize(("width", "is_beside"), [(160, True), (600, False)])
def test_both_pictures_are_shown_pixel_by_pixel(width, is_beside):
    preview = make(width=width)
    canvas = np.asarray(draw_preview(preview))
    (first,), (second,) = (places_of(canvas, colors) for _, colors in preview.pictures)
    assert (first[0] == second[0]) is is_beside
    assert (first[1] == second[1]) is not is_beside


def test_each_class_has_its_swatch():
    canvas = np.asarray(draw_preview(make()))
    for _, color in LEGEND:
        assert (canvas == color).all(axis=-1).sum() >= (drawing.SWATCH - 1) ** 2


def test_the_scale_bar_is_as_long_as_it_says():
    assert drawing._scale_bar(2.0, 900) == (250, "500 m")
    assert drawing._scale_bar(0.05, 900) == (200, "10 m")
    assert drawing._scale_bar(None, 900) is None
    assert drawing._scale_bar(float("inf"), 900) is None


def ink_of(picture):
    """Middle of the dark pixels of an arrow, from -0.5 to 0.5: right, down."""
    dark = np.argwhere(np.asarray(picture.convert("L")) < 128) - drawing.ARROW / 2
    return dark.mean(axis=0)[::-1] / drawing.ARROW


@pytest.mark.parametrize("north", [(0.0, -1.0), (0.0, 1.0), (1.0, 0.0), (-0.6, 0.8)])
def test_the_arrow_turns_with_the_map(north, monkeypatch):
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda *_, **__: None)
    # The needle's broad end, with most of the ink, is away from north.
    found, up = ink_of(drawing._arrow(north)), ink_of(drawing._arrow((0.0, -1.0)))
    assert up[1] > 0.08
    assert found == pytest.approx(-up[1] * np.array(north), abs=0.04)


@pytest.mark.parametrize(
    "changes",
    [
        {"legend": ()},
        {"legend": tuple((f"class {'x' * 200} {i}", (i, i, i)) for i in range(200))},
        {"pixel_m": None, "north": None, "lines": ()},
        {"lines": ("one very long line " * 40, "y" * 600)},
        {"pictures": (("z" * 300, np.zeros((900, 16, 3), np.uint8)),) * 2},
        {"legend": (("Вода 5 %", (1, 2, 3)), ("水 95 %", (4, 5, 6)))},
    ],
    ids=["no classes", "many long classes", "no place", "long lines", "narrow", "other letters"],
)
def test_nothing_reaches_beyond_the_canvas(changes):
    canvas = np.asarray(draw_preview(make(**changes)))
    assert canvas.shape[1] >= drawing.LEAST_WIDTH
    frame = drawing.MARGIN - 4
    edges = (canvas[:frame], canvas[-frame:], canvas[:, :frame], canvas[:, -frame:])
    assert all((edge == 255).all() for edge in edges)
