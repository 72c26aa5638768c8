"""The sources of a training: their legends matched first, then their scenes opened and split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hyseg_cli.errors import UnusableFileError, UsageProblemError
from hyseg_cli.geo.raster.picture import PICTURE_SUFFIXES
from hyseg_cli.learn.data.chips import Pool
from hyseg_cli.learn.data.labelled_scene import open_pair
from hyseg_cli.learn.data.statistics import Places, SceneCounts
from hyseg_cli.learn.sources.label_sets import LabelSets
from hyseg_cli.learn.sources.scenes import SourceScene, shares_of_sources, weights_of_places
from hyseg_cli.learn.sources.source_scores import Collapse
from hyseg_cli.legend import Legend, read_legend
from hyseg_cli.messages import Messages
from hyseg_cli.settings.train import TrainSettings
from hyseg_cli.workflows.sources import RGB, PlacedPair, Source, bands_of, match_source, points_of


@dataclass(frozen=True)
class Sources:
    """All sources of a training."""

    legend: Legend
    """The common one."""
    sources: tuple[Source, ...]
    labels: LabelSets
    """What the labels of all of them stand for."""

    @property
    def collapses(self) -> dict[str, Collapse]:
        """How predictions are compared with the labels of each source."""
        return {
            f"source {source.name}": Collapse.of(source.classes, self.labels)
            for source in self.sources
        }


def match_sources(settings: TrainSettings) -> Sources:
    """Match the legend of every source with the common one, before any image is opened.

    Raises:
        UsageProblemError: If a source has no files, or its mapping cannot be used.
    """
    if settings.legend is None:
        message = "settings with sources have a legend"
        raise TypeError(message)
    common = read_legend(settings.legend).require_for_maps()
    found = tuple(match_source(source, common) for source in settings.sources)
    sets = (allowed for source in found for allowed in source.classes.sets)
    return Sources(common, found, LabelSets.of(len(common), sets))


@dataclass(frozen=True)
class OpenedScene:
    """A scene of a source, ready to be read."""

    scene: SourceScene
    pair: PlacedPair
    source: Source

    @property
    def name(self) -> str:
        """Source and place."""
        return f"{self.source.name}/{self.pair.place}"


def open_sources(
    found: Sources, settings: TrainSettings, messages: Messages
) -> tuple[list[OpenedScene], list[OpenedScene]]:
    """Open the scenes of all sources: those to train on and those that are held out.

    Training images that touch one that is held out are left out: both show one place.

    Raises:
        UsageProblemError: If a pattern of `val_scenes` fits nothing, or a source has no band of
            the training.
        HysegError: If labels do not fit their images or the legend.
    """
    _require_patterns(found, settings.val_scenes)
    training: list[OpenedScene] = []
    validation: list[OpenedScene] = []
    for index, source in enumerate(found.sources):
        held_out = [
            placed
            for placed in source.pairs
            if any(placed.is_called(source.name, pattern) for pattern in settings.val_scenes)
        ]
        rest = _apart(source, held_out, messages)
        training += _open(rest, source, index, found.labels, settings, messages)
        validation += _open(held_out, source, index, found.labels, settings, messages)
    return training, validation


def _require_patterns(found: Sources, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        if not any(
            placed.is_called(source.name, pattern)
            for source in found.sources
            for placed in source.pairs
        ):
            places = sorted(
                {f"{s.name}/{placed.place}" for s in found.sources for placed in s.pairs}
            )
            more = ", ..." if len(places) > 12 else ""
            raise UsageProblemError(
                f"`val_scenes` {pattern}: no source has such a place or image",
                hint=f"The places are {', '.join(places[:12])}{more}; patterns such as "
                f"{found.sources[0].name}/* are possible.",
            )


def _apart(source: Source, held_out: list[PlacedPair], messages: Messages) -> list[PlacedPair]:
    """The images of a source that are not held out and touch none that is."""
    rest = [placed for placed in source.pairs if placed not in held_out]
    names = [placed.pair.image for placed in (*rest, *held_out)]
    if not rest or not held_out or any(p.suffix.lower() in PICTURE_SUFFIXES for p in names):
        return rest
    from hyseg_cli.learn.sources.neighbours import touching  # GDAL only where it is needed

    near = touching([p.pair.image for p in rest], [p.pair.image for p in held_out])
    if near:
        messages.note(
            f"source {source.name}: {len(near)} images touch others that are held out and are "
            "left out of the training"
        )
    return [placed for placed in rest if placed.pair.image not in near]


def _open(
    pairs: Iterable[PlacedPair],
    source: Source,
    index: int,
    labels: LabelSets,
    settings: TrainSettings,
    messages: Messages,
) -> list[OpenedScene]:
    """The scenes that can be opened; what cannot be is reported and left out."""
    own = source.settings
    wanted = settings.band_names or RGB
    bands, has_band = bands_of(own, wanted)
    _require_bands(own.name, wanted, has_band, settings.optional_bands)
    encoding = source.classes.encoding(labels)
    resolution = float(np.mean(own.resolution)) if own.resolution else None
    opened = []
    for placed in pairs:
        try:
            scene = open_pair(
                placed.pair, source.classes.legend, bands, own.class_field, points_of(own)
            )
        except UnusableFileError as error:
            messages.warn(f"left out: {error.message}")
            continue
        sourced = SourceScene(
            scene, encoding, source=index, has_band=has_band, resolution_m=resolution
        )
        opened.append(OpenedScene(sourced, placed, source))
    return opened


def _require_bands(
    source: str, wanted: Sequence[str], has_band: Sequence[bool], optional: Sequence[str]
) -> None:
    """Refuse a source without a band that every scene has to have."""
    lacking = [name for name, is_there in zip(wanted, has_band, strict=True) if not is_there]
    needed = [name for name in lacking if name not in optional]
    if needed:
        raise UsageProblemError(
            f"source {source} has no band {needed[0]}",
            hint=f"Name it in its band-names, or make it optional: `optional_bands` {needed[0]}.",
        )
    if lacking and len(lacking) < len(optional):
        raise UsageProblemError(
            f"source {source} has some of the optional bands, but not {', '.join(lacking)}",
            hint="Optional bands come together: leave the others out of its band-names.",
        )


def pools_of(
    found: Sources,
    training: Sequence[OpenedScene],
    counts: Sequence[SceneCounts],
    *,
    by_class: bool,
) -> tuple[Pool, ...]:
    """A pool of scenes for each source that has any to train on."""
    own = {
        source.name: [i for i, one in enumerate(training) if one.source is source]
        for source in found.sources
    }
    used = [source for source in found.sources if own[source.name]]
    areas = [
        sum(float(training[i].scene.height * training[i].scene.width) for i in own[source.name])
        for source in used
    ]
    shares = shares_of_sources([source.settings.share for source in used], areas)
    pools = []
    for source, share in zip(used, shares, strict=True):
        chosen = own[source.name]
        scenes = tuple(training[i].scene for i in chosen)
        weights = weights_of_places(scenes, tuple(training[i].pair.place for i in chosen))
        places = Places.of([counts[i].occurrence for i in chosen]) if by_class else None
        pools.append(Pool(scenes, tuple(weights), share, places))
    return tuple(pools)
