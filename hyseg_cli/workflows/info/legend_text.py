"""Legends in a terminal."""

from __future__ import annotations

from hyseg_cli.legend import Color, format_color


def swatch(color: Color) -> str:
    """Two characters in a colour, for terminals; two spaces where colours are taken out."""
    red, green, blue = color
    return f"\x1b[48;2;{red};{green};{blue}m  \x1b[0m"


def legend_line(class_id: int, name: str, color: Color) -> str:
    """A class on a line: number, swatch, colour, name."""
    return f"{class_id:>5}  {swatch(color)} {format_color(color)}  {name}"
