"""Settings of one source: a data set with a legend of its own, from a TOML file or a table."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.settings.checks import check

Rules = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """One source of a training or an evaluation."""

    name: str
    images: Path
    labels: Path
    """Label rasters, one vector file, or tables of points."""
    legend: Path | None = None
    """The classes of the labels; None for those that they have."""
    class_field: str = "class"
    """Column of a vector file or of a table that holds the class."""
    label_name: tuple[str, ...] = ()
    """A regular expression and what to put in its place: of the name of an image it makes that of
    its labels. Empty where they are called alike or lie in one place."""
    classes: Rules = ()
    """What its classes are in the common legend, where the names differ."""
    bands: tuple[int, ...] = ()
    """Indexes from 1; empty for all but alpha."""
    band_names: tuple[str, ...] = ()
    """Names of these bands; empty for red, green, blue, nir as far as there are bands."""
    share: float | None = None
    """Share of the training chips; None for a part of the rest by the root of the area."""
    resolution: tuple[float, ...] = ()
    """Ground size of the pixels in metres, or the smallest and the largest, for images that do not
    say it themselves."""
    place: str = ""
    """Regular expression for the place that an image lies in, matched at the start of its name;
    empty for the scene."""
    strips: int = 1
    """Places from west to east that georeferenced images are divided into instead."""
    leave_out: tuple[str, ...] = ()
    """Patterns of images that are not used."""
    point_class: str = ""
    """Class of points that do not name theirs."""
    radius: float = 2.0
    """Of the disc that a point labels, in metres, or in pixels where these have no size."""
    title: str = ""
    licence: str = ""
    attribution: str = ""

    def __post_init__(self) -> None:
        check(
            self.share is None or 0 < self.share < 1,
            f"source {self.name}: its share {self.share} is not between 0 and 1",
            "Give its part of the training chips, such as 0.3, or leave the share out.",
        )
        check(
            len(self.resolution) <= 2 and all(size > 0 for size in self.resolution),
            f"source {self.name}: its resolution is not a size or a range of sizes",
            "Give metres, such as 0.6 or [0.3, 1.0].",
        )
        check(
            self.radius > 0 and self.strips >= 1,
            f"source {self.name}: radius and strips must be above 0",
            "Give a radius such as 2.5, and strips such as 3.",
        )
        check(
            not self.band_names or not self.bands or len(self.band_names) == len(self.bands),
            f"source {self.name}: {len(self.band_names)} band-names for {len(self.bands)} bands",
            "Name each of its bands.",
        )
        check(
            len(self.label_name) in (0, 2),
            f"source {self.name}: label-name needs a regular expression and a replacement",
            'Write for example label-name = ["^tile_", "mask_"].',
        )
        for pattern in (self.place, *self.label_name[:1]):
            self._check_pattern(pattern)

    def _check_pattern(self, pattern: str) -> None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise UsageProblemError(
                f"source {self.name}: {pattern!r} is not a regular expression ({error})",
                hint="Write one that matches names of images, such as '[a-z_]+'.",
            ) from error

    @property
    def rules(self) -> dict[str, tuple[str, ...]]:
        """The rules by class."""
        return dict(self.classes)

    def is_left_out(self, image: Path) -> bool:
        """Whether a pattern of `leave_out` fits an image."""
        return any(fnmatch.fnmatchcase(image.name, pattern) for pattern in self.leave_out)

    def place_of(self, image: Path, scene: str) -> str:
        """The place that an image lies in: what `place` matches in its name, or the scene."""
        found = re.match(self.place, image.stem) if self.place else None
        return found.group(found.lastindex or 0) if found else scene


def read_sources(values: Sequence[Any], root: Path | None) -> tuple[SourceSettings, ...]:
    """Sources as they are typed, `NAME=FILE.toml` or `FILE.toml`, or as tables of `config`.

    Args:
        values: Texts or tables.
        root: Folder below which images and labels lie; None for the folder of each file.

    Raises:
        UsageProblemError: If a file is missing, is not TOML or says something else, or two
            sources have one name.
    """
    found = [
        _of_table(dict(value), root) if isinstance(value, Mapping) else _of_file(str(value), root)
        for value in values
    ]
    names = [source.name for source in found]
    for name in names:
        check(
            names.count(name) == 1,
            f"`sources`: two sources are called {name!r}",
            "Name them: `sources` NAME=FILE.",
        )
    return tuple(found)


def _of_file(text: str, root: Path | None) -> SourceSettings:
    name, _, file = text.rpartition("=")
    name = name or Path(file).stem
    return _source(name, _read(name, Path(file), root))


def _of_table(table: dict[str, Any], root: Path | None) -> SourceSettings:
    """A source from a TOML table, which may say less if it names the file of another."""
    name, folder = str(table.pop("name")), Path(table.pop("folder", Path()))
    file = table.pop("file", None)
    start = {} if file is None else _read(name, folder / str(file), root)
    return _source(name, start | _values(name, table, folder, root))


def _source(name: str, values: dict[str, Any]) -> SourceSettings:
    for field in ("images", "labels"):
        check(
            field in values,
            f"source {name}: it does not say where its {field} are",
            f'Add a line such as {field} = "{name}/{field}".',
        )
    return SourceSettings(name=name, **values)


def _read(name: str, path: Path, root: Path | None) -> dict[str, Any]:
    """The settings in a TOML file."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageProblemError(
            f"`sources` {path}: no such file", hint="Write NAME=FILE.toml, or the file alone."
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageProblemError(
            f"`sources` {path} is not TOML ({error})", hint="See examples/sources for some."
        ) from error
    return _values(name, table, path.parent, root)


def _values(name: str, table: Mapping[str, Any], folder: Path, root: Path | None) -> dict[str, Any]:
    """Settings as `SourceSettings` takes them, with paths that begin where they are meant to."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        field = key.replace("-", "_")
        reader = _READERS.get(field)
        if reader is None:
            raise UsageProblemError(
                f"source {name}: {key!r} is not one of its settings",
                hint=f"They are {', '.join(sorted(_READERS)).replace('_', '-')}.",
            )
        try:
            values[field] = reader(value)
        except (TypeError, ValueError, AttributeError) as error:
            raise UsageProblemError(
                f"source {name}: {key} = {value!r} cannot be used",
                hint="See examples/sources for one that can.",
            ) from error
    for field in {"images", "labels", "legend"} & values.keys():
        is_beside = root is None or field == "legend" or values[field].startswith("./")
        values[field] = (folder if is_beside else root) / values[field]
    return values


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(_text, value))


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(map(_number, value)) if isinstance(value, list) else (_number(value),)


def _indexes(value: Any) -> tuple[int, ...]:
    return tuple(map(int, value))


def _rules(value: Any) -> Rules:
    return tuple((_text(key), _texts(targets)) for key, targets in value.items())


_READERS: dict[str, Callable[[Any], Any]] = {
    "images": _text,
    "labels": _text,
    "legend": _text,
    "class_field": _text,
    "label_name": _texts,
    "classes": _rules,
    "bands": _indexes,
    "band_names": _texts,
    "share": _number,
    "resolution": _numbers,
    "place": _text,
    "strips": int,
    "leave_out": _texts,
    "point_class": _text,
    "radius": _number,
    "title": _text,
    "licence": _text,
    "attribution": _text,
}
