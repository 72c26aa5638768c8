"""Scenes that somebody drew a few polygons on, opened without reading all of their pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hyseg_cli.errors import UnusableFileError, UsageProblemError
from hyseg_cli.geo.raster.bands import require_bands
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.geo.raster.reader import SceneReader
from hyseg_cli.learn.data.pairs import ScenePair, find_pairs, images_without
from hyseg_cli.learn.few.polygons import Drawing, read_drawing
from hyseg_cli.learn.model.card import Radiometry, quantiles, radiometry_of_sample
from hyseg_cli.learn.model.shift import sample_pixels
from hyseg_cli.legend import Legend
from hyseg_cli.messages import Messages
from hyseg_cli.settings.train import TrainSettings
from hyseg_cli.workflows.train.scenes import legend_of, require_two

COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class DrawnScene:
    """A scene with the polygons on it."""

    name: str
    scene: Raster
    bands: tuple[int, ...]
    """Indexes from 1 of the bands that are read."""
    reader: SceneReader
    drawing: Drawing

    @property
    def dtype(self) -> str:
        """Data type of the first of its bands."""
        return self.scene.dtypes[self.bands[0] - 1]


@dataclass(frozen=True)
class DrawnScenes:
    """All scenes of a training on a few polygons."""

    scenes: tuple[DrawnScene, ...]
    legend: Legend
    radiometry: Radiometry
    """What was measured of a sample of their pixels."""
    quantiles: tuple[tuple[float, ...], ...]
    """Of each band over that sample."""


def open_drawn_scenes(settings: TrainSettings, messages: Messages) -> DrawnScenes:
    """Open the scenes and their polygons, and report what of these cannot be used.

    Raises:
        UsageProblemError: If there is nothing to learn from, or one class alone.
        HysegError: If a file cannot be read, or scenes do not fit each other.
    """
    if settings.images is None or settings.labels is None:
        message = "settings without images and labels name a benchmark"
        raise TypeError(message)
    pairs = find_pairs(settings.images, settings.labels)
    alone = images_without(pairs, settings.images)
    if alone:
        messages.warn(f"left out: {len(alone)} images without labels, the first {alone[0]}")
    legend = legend_of(settings, pairs, messages)
    opened = _open(pairs, legend, settings, messages)
    _report_problems(opened, messages)
    drawn = tuple(scene for scene in opened if scene.drawing.polygons)
    if not drawn:
        raise UsageProblemError(
            f"no polygon of {settings.labels} lies on {settings.images}",
            hint="Check that both are of one place, the CRS of each, and the column of the class.",
        )
    _require_one_type(drawn)
    pixels = np.concatenate(
        [sample_pixels(scene.reader, scene.drawing.corners) for scene in drawn], axis=1
    )
    if pixels.shape[1] == 0:
        raise UsageProblemError(
            f"{drawn[0].name} holds no data", hint="Check its nodata value and its mask."
        )
    found = radiometry_of_sample(pixels.astype(np.float32))
    if drawn[0].dtype == "uint8":
        found = Radiometry(found.mean, found.std)
    return DrawnScenes(drawn, require_two(legend), found, quantiles(pixels))


def _open(
    pairs: Sequence[ScenePair], legend: Legend, settings: TrainSettings, messages: Messages
) -> list[DrawnScene]:
    """The scenes that can be opened; what cannot be is reported and left out."""
    usable, first_problem = [], None
    for pair in pairs:
        try:
            usable.append(_open_one(pair, legend, settings))
        except UnusableFileError as error:
            first_problem = first_problem or error
            messages.warn(f"left out: {error.message}")
    if not usable and first_problem is not None:
        raise first_problem
    return usable


def _open_one(pair: ScenePair, legend: Legend, settings: TrainSettings) -> DrawnScene:
    scene = open_raster(pair.image)
    bands = settings.bands or colour_bands(scene)
    require_bands(bands, len(scene.dtypes), str(pair.image))
    drawing = read_drawing(pair.labels[0], scene, legend, settings.class_field, seed=settings.seed)
    return DrawnScene(pair.scene, scene, bands, SceneReader(scene, bands), drawing)


def colour_bands(scene: Raster) -> tuple[int, ...]:
    """The bands that a transformer for colour photographs sees: red, green, blue.

    Those that the raster calls so, else the first three that hold data; all of them if there are
    fewer.
    """
    if all(scene.colors.count(colour) == 1 for colour in COLOURS):
        red, green, blue = (scene.colors.index(colour) + 1 for colour in COLOURS)
        return red, green, blue
    return scene.data_bands[:3]


def _report_problems(scenes: Sequence[DrawnScene], messages: Messages) -> None:
    worst: Counter[str] = Counter()
    for scene in scenes:
        for problem, count in scene.drawing.problems.items():
            worst[problem] = max(worst[problem], count)
    for problem, count in sorted(worst.items()):
        messages.warn(f"{count} polygons {problem}")
    if scenes:
        outside = frozenset.intersection(*(scene.drawing.outside for scene in scenes))
        if outside:
            place = "the scene" if len(scenes) == 1 else "all scenes"
            messages.warn(f"{len(outside)} polygons lie outside {place}")


def _require_one_type(scenes: Sequence[DrawnScene]) -> None:
    first = scenes[0]
    for scene in scenes:
        if (len(scene.bands), scene.dtype) != (len(first.bands), first.dtype):
            raise UnusableFileError(
                f"{scene.name} has {len(scene.bands)} bands of {scene.dtype}, but {first.name} has "
                f"{len(first.bands)} of {first.dtype}",
                hint="Train on scenes of one kind, or choose common bands with `bands`.",
            )


def names_of_bands(scenes: DrawnScenes, given: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the bands for the card: as given, or the colours, or by number.

    Raises:
        UsageProblemError: If names were given, but not one for each band.
    """
    bands = scenes.scenes[0].bands
    if given:
        if len(given) != len(bands):
            raise UsageProblemError(
                f"{len(given)} names for {len(bands)} bands",
                hint="Give `band_names` once for each band, in their order.",
            )
        return given
    scene = scenes.scenes[0].scene
    colors = tuple(scene.colors[band - 1] for band in bands)
    if colors == COLOURS or bands == (1, 2, 3):
        return COLOURS
    return tuple(f"band{band}" for band in bands)


def resolutions(scenes: Sequence[DrawnScene], given: tuple[float, ...]) -> list[float]:
    """Sizes of the pixels of the scenes in metres, or those that were given for them."""
    known = [size for scene in scenes if (size := scene.scene.resolution_m()) is not None]
    return known or list(given)
