"""What the values of options look like when they are typed."""

from __future__ import annotations

from typing import Any

import click


class BandList(click.ParamType[tuple[int, ...]]):
    """`1,2,3` as a tuple of indexes from 1."""

    name = "bands"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple | list):
            return tuple(int(band) for band in value)
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdigit() and int(part) > 0 for part in parts):
            self.fail(f"{value!r} is not a list of band numbers such as 1,2,3", param, ctx)
        return tuple(int(part) for part in parts)


class Bounds(click.ParamType[tuple[float, float, float, float]]):
    """`left,bottom,right,top` as four numbers."""

    name = "bounds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float, float]:
        parts = value if isinstance(value, tuple | list) else str(value).split(",")
        try:
            left, bottom, right, top = (float(part) for part in parts)
        except ValueError:
            self.fail(f"{value!r} is not left,bottom,right,top", param, ctx)
        return left, bottom, right, top


class Part(click.ParamType[tuple[int, int]]):
    """`I/N` as two numbers."""

    name = "part"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value[0], value[1]
        part, slash, parts = str(value).partition("/")
        if not (slash and part.isdigit() and parts.isdigit()):
            self.fail(f"{value!r} is not a part such as 1/8", param, ctx)
        return int(part), int(parts)


class NumberList(click.ParamType[tuple[float, ...]]):
    """`0` or `0,0,255` or `nan` as a tuple of numbers."""

    name = "numbers"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        parts = value if isinstance(value, tuple | list) else str(value).split(",")
        try:
            return tuple(float(part) for part in parts)
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 0 or 255,255,255", param, ctx)
