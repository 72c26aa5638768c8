"""One source: its files found and its legend matched with the common one, before any is read."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.learn.data.chip import PointRules
from hyseg_cli.learn.data.pairs import TABLE_SUFFIXES, ScenePair, find_pairs
from hyseg_cli.learn.sources.mapping import SourceClasses, match_classes, renamed
from hyseg_cli.legend import Legend, LegendClass, distinct_color, natural_color, read_legend
from hyseg_cli.settings.source import SourceSettings

RGB = ("red", "green", "blue")


@dataclass(frozen=True)
class PlacedPair:
    """An image with labels, and the place that it lies in."""

    pair: ScenePair
    place: str

    def is_called(self, source: str, pattern: str) -> bool:
        """Whether a pattern of `val_scenes` fits its place, its scene or its file."""
        names = (self.place, self.pair.scene, self.pair.image.name, self.pair.image.stem)
        return any(fnmatch.fnmatchcase(f"{source}/{name}", pattern) for name in names)


@dataclass(frozen=True)
class Source:
    """A source whose legend is known and whose files are found, none of them read."""

    settings: SourceSettings
    pairs: tuple[PlacedPair, ...]
    classes: SourceClasses

    @property
    def name(self) -> str:
        return self.settings.name


def match_source(
    settings: SourceSettings, common: Legend, merging: Mapping[str, str | None] | None = None
) -> Source:
    """Find the files of one source and match its legend.

    Args:
        settings: The source.
        common: The classes that are learned or compared.
        merging: What the classes are called there that its rules name.

    Raises:
        UsageProblemError: If the source has no files, or its mapping cannot be used.
    """
    pairs = [
        pair
        for pair in find_pairs(settings.images, settings.labels, settings.label_name or None)
        if not settings.is_left_out(pair.image)
    ]
    if not pairs:
        raise UsageProblemError(
            f"source {settings.name}: every image is left out",
            hint="Check the patterns of leave-out.",
        )
    own = _legend_of(settings, pairs)
    rules = settings.rules if merging is None else renamed(settings.rules, own, merging)
    classes = match_classes(settings.name, own, common, rules)
    return Source(settings, _placed(settings, pairs), classes)


def _legend_of(settings: SourceSettings, pairs: Sequence[ScenePair]) -> Legend:
    if settings.legend is not None:
        return read_legend(settings.legend)
    if settings.point_class:
        color = natural_color(settings.point_class) or distinct_color(0)
        return Legend((LegendClass(id=0, name=settings.point_class, color=color),))
    if pairs[0].labels[0].suffix.lower() in TABLE_SUFFIXES:
        raise UsageProblemError(
            f"source {settings.name}: it is not said which classes its points have",
            hint='Add a legend, or point-class = "trees" if all of them are one.',
        )
    from hyseg_cli.learn.data.legends import legend_of_labels  # GDAL only where it is needed

    paths = sorted({path for pair in pairs for path in pair.labels})
    return legend_of_labels(paths, settings.class_field)


def _placed(settings: SourceSettings, pairs: Sequence[ScenePair]) -> tuple[PlacedPair, ...]:
    if settings.strips == 1:
        return tuple(PlacedPair(pair, settings.place_of(pair.image, pair.scene)) for pair in pairs)
    from hyseg_cli.learn.sources.neighbours import strips_of  # GDAL only where it is needed

    images = [pair.image for pair in pairs]
    strips = strips_of(images, settings.strips, settings.name)
    return tuple(
        PlacedPair(pair, f"strip {strip}") for pair, strip in zip(pairs, strips, strict=True)
    )


def points_of(settings: SourceSettings) -> PointRules:
    """How points of a source label their surroundings."""
    return PointRules(settings.radius, settings.point_class)


def bands_of(
    source: SourceSettings, wanted: Sequence[str]
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """The bands of a source's images to read, and which of those wanted it has.

    Raises:
        UsageProblemError: If it has none of them.
    """
    names = [name.casefold() for name in source.band_names or RGB]
    indexes = source.bands or tuple(range(1, len(names) + 1))
    index_of = dict(zip(names, indexes, strict=False))
    has_band = tuple(name.casefold() in index_of for name in wanted)
    if not any(has_band):
        raise UsageProblemError(
            f"source {source.name} has none of the bands {', '.join(wanted)}",
            hint=f"It has {', '.join(names)}; say so with band-names.",
        )
    return tuple(index_of[name.casefold()] for name in wanted if name.casefold() in index_of), (
        has_band
    )
