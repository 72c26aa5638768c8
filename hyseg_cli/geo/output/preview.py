"""A picture of a scene beside its map, with legend, scale bar, north arrow and notes.

It is drawn pixel by pixel on a white canvas; pictures are never resampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from hyseg_cli.geo.raster.ground import length_text, round_length
from hyseg_cli.legend import Color

PAPER, INK, QUIET = (255, 255, 255), (26, 31, 36), (84, 94, 104)
MARGIN = 24
GAP = 16
"""Between the two pictures, and between their parts."""
LEAST_WIDTH = 720
"""Of the canvas, so that there is room for text beside narrow pictures."""
STACKED_FROM = 1.75
"""Pictures with a larger ratio of width to height are stacked."""
TEXT, LINE = 16, 24
"""Height of letters and of lines."""
SWATCH = 16
MOST_CLASSES = 60
"""Entries of the legend; the number of further ones is printed."""
SCALE_SHARE = 0.3
"""The longest scale bar, as a part of the width of a picture."""
ARROW = 44
_FINER = 4
"""The arrow is drawn this many times larger and then shrunk, for smooth edges."""

Colors = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Preview:
    """What a preview shows."""

    pictures: tuple[tuple[str, Colors], ...]
    """Titles and colours (height, width, 3), all of one size: the scene, then the map."""
    legend: tuple[tuple[str, Color], ...]
    """Texts and colours."""
    pixel_m: float | None
    """Width on the ground of a pixel of the pictures."""
    north: tuple[float, float] | None
    """Pixels right and down of a step to the north, of length one."""
    lines: tuple[str, ...]
    """Lines of text below: CRS, attribution."""


def draw_preview(preview: Preview) -> Image.Image:
    """The picture, in red, green and blue."""
    height, width = preview.pictures[0][1].shape[:2]
    count = len(preview.pictures)
    columns = 1 if width > STACKED_FROM * height else count
    rows = -(-count // columns)
    inner = max(columns * width + (columns - 1) * GAP, LEAST_WIDTH - 2 * MARGIN)
    legend = _legend_cells(preview.legend, inner)
    bar = _scale_bar(preview.pixel_m, width)
    taken = (bar[0] + 90 if bar else 0) + (ARROW + GAP if preview.north else 0)
    lines = [
        part for line in preview.lines for part in _wrapped(line, max(inner - taken - GAP, 240))
    ]
    foot = max(ARROW, len(lines) * LINE)
    top = MARGIN + rows * (LINE + height + GAP)
    size = (inner + 2 * MARGIN, top + legend[1] + GAP + foot + MARGIN)
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    left = (size[0] - columns * width - (columns - 1) * GAP) // 2
    for index, (title, colors) in enumerate(preview.pictures):
        x = left + index % columns * (width + GAP)
        y = MARGIN + index // columns * (LINE + height + GAP)
        _write(draw, (x, y), _cut(title, max(width, 200)), INK)
        canvas.paste(Image.fromarray(np.ascontiguousarray(colors)), (x, y + LINE))
        draw.rectangle((x - 1, y + LINE - 1, x + width, y + LINE + height), outline=QUIET)
    for (x, y), text, color in legend[0]:
        _draw_entry(draw, (MARGIN + x, top + y), text, color)
    _draw_foot(canvas, draw, top + legend[1] + GAP, preview, bar, lines)
    return canvas


def _draw_entry(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, color: Color) -> None:
    x, y = at
    if text:
        draw.rectangle((x, y, x + SWATCH, y + SWATCH), fill=color, outline=QUIET)
        _write(draw, (x + SWATCH + 8, y - 1), text, INK)


def _draw_foot(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    top: int,
    preview: Preview,
    bar: tuple[int, str] | None,
    lines: Sequence[str],
) -> None:
    x = MARGIN
    if preview.north is not None:
        canvas.paste(_arrow(preview.north), (x, top))
        x += ARROW + GAP
    if bar is not None:
        length, text = bar
        y = top + LINE
        draw.line((x, y + 6, x + length, y + 6), fill=INK, width=3)
        for end in (x, x + length):
            draw.line((end, y, end, y + 8), fill=INK, width=2)
        _write(draw, (x, top - 2), text, INK)
        x += max(length, int(_font().getlength(text))) + GAP + MARGIN
    for index, line in enumerate(lines):
        _write(draw, (x, top + index * LINE), line, QUIET)


def _arrow(north: tuple[float, float]) -> Image.Image:
    """A needle that points north, and an N before its tip."""
    side = ARROW * _FINER
    picture = Image.new("RGB", (side, side), PAPER)
    draw = ImageDraw.Draw(picture)
    right, down = north
    middle, reach = side / 2, side * 0.36

    def at(along: float, across: float) -> tuple[float, float]:
        return (
            middle + reach * (along * right - across * down),
            middle + reach * (along * down + across * right),
        )

    draw.polygon([at(0.55, 0), at(-1.1, 0.5), at(-0.75, 0)], fill=INK)
    draw.polygon([at(0.55, 0), at(-1.1, -0.5), at(-0.75, 0)], outline=INK, width=_FINER)
    draw.text(at(1.0, 0), "N", fill=INK, font=_font(13 * _FINER), anchor="mm")
    return picture.resize((ARROW, ARROW), Image.Resampling.LANCZOS)


def _scale_bar(pixel_m: float | None, width: int) -> tuple[int, str] | None:
    """Pixels and text of the scale bar; None if lengths are unknown or there is no room."""
    if pixel_m is None or not 0 < pixel_m < float("inf"):
        return None
    metres = round_length(max(SCALE_SHARE * width, 40) * pixel_m)
    return round(metres / pixel_m), length_text(metres)


def _legend_cells(
    legend: Sequence[tuple[str, Color]], width: int
) -> tuple[list[tuple[tuple[int, int], str, Color]], int]:
    """Position, text and colour of each entry of the legend in columns, and the total height."""
    shown = list(legend[:MOST_CLASSES])
    if len(legend) > len(shown):
        shown.append((f"and {len(legend) - len(shown)} more", PAPER))
    if not shown:
        return [], 0
    longest = max(_font().getlength(text) for text, _ in shown)
    cell = min(int(longest) + SWATCH + 8 + MARGIN, width)
    columns = max(1, width // cell)
    cells = [
        (
            (index % columns * cell, index // columns * LINE),
            _cut(text, cell - SWATCH - 8 - GAP // 2),
            color,
        )
        for index, (text, color) in enumerate(shown)
    ]
    return cells, -(-len(shown) // columns) * LINE


def _wrapped(text: str, width: int) -> Iterable[str]:
    """A text in lines of at most this many pixels, unless a word is longer."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and _font().getlength(longer) > width:
            yield _cut(line, width)
            line = word
        else:
            line = longer
    if line:
        yield _cut(line, width)


def _cut(text: str, width: int) -> str:
    """A text of at most this many pixels; its middle is cut out."""
    if _font().getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        short = f"{text[: kept - kept // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - kept // 2 :]}"
        if _font().getlength(short) <= width:
            return short
    return text[:1]


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, color: Color) -> None:
    draw.text(at, text, fill=color, font=_font())


@cache
def _font(size: int = TEXT) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has the letters of most languages."""
    import matplotlib as mpl

    return ImageFont.truetype(
        str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size
    )
