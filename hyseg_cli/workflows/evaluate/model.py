"""`hyseg evaluate --images --labels`: a model measured on labelled scenes, held in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hyseg_cli.errors import ModelMismatchError, UnusableFileError
from hyseg_cli.geo.raster.picture import PICTURE_SUFFIXES
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.geo.raster.reader import Pixels
from hyseg_cli.geo.suffixes import VECTOR_SUFFIXES
from hyseg_cli.geo.tiling.blocks import whole_scene
from hyseg_cli.geo.tiling.grid import ALIGNMENT, TileGrid
from hyseg_cli.geo.tiling.strips import Strip
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.benchmarks import BENCHMARKS
from hyseg_cli.learn.data.chip import LabelledScene
from hyseg_cli.learn.data.label_sources import warnings_of
from hyseg_cli.learn.data.labelled_scene import open_pair
from hyseg_cli.learn.data.legends import legend_of_labels
from hyseg_cli.learn.data.pairs import ScenePair, find_pairs, images_without
from hyseg_cli.learn.inference.predictor import Predictor, choose_device, tiles_at_once
from hyseg_cli.learn.inference.resample import AtOtherResolution
from hyseg_cli.learn.inference.stitch import Classify, map_strips
from hyseg_cli.learn.model.card import ModelCard
from hyseg_cli.learn.model.contract import PixelSize, alignment_for, match
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.learn.model.weights import Model, load_model
from hyseg_cli.learn.scores.crosswalk import Crosswalk, ReferenceClasses, match_legends
from hyseg_cli.learn.scores.evaluation import (
    Evaluation,
    PatchCount,
    PatchCounts,
    Protocol,
    Unmatched,
    count_patch,
)
from hyseg_cli.learn.scores.overlaps import OverlapProbe
from hyseg_cli.learn.scores.seams import TileLines
from hyseg_cli.legend import ClassIndices, Legend, read_legend
from hyseg_cli.messages import Messages
from hyseg_cli.settings.evaluate import EvaluateSettings
from hyseg_cli.workflows.evaluate.maps import own_legend
from hyseg_cli.workflows.evaluate.pictures import Gallery
from hyseg_cli.workflows.evaluate.protocol import (
    merging_of,
    patches_of,
    protocol_of,
    warn_of_unmatched,
)
from hyseg_cli.workflows.evaluate.source import MappedSource
from hyseg_cli.workflows.sources import bands_of, points_of

COLORS = ("red", "green", "blue")


def evaluate_model(
    settings: EvaluateSettings, messages: Messages, gallery: Gallery | None = None
) -> Evaluation:
    """Map every labelled scene with a model and count all of them together.

    Args:
        settings: What to measure, and how.
        messages: Where messages go.
        gallery: Collects pictures of the scenes; None to keep none.

    Raises:
        HysegError: If no scene can be used, or labels and model have no class in common.
    """
    path = find_model(settings.model)
    model = load_model(path)
    classify = Predictor(model, choose_device(settings.device), seed=settings.seed)
    labelled = _find(settings, model.card.legend, messages)
    crosswalk = labelled.crosswalk or match_legends(
        [model.card.legend], labelled.legend, merging_of(settings)
    )
    protocol = protocol_of(settings, crosswalk.legend, None, labelled.unscored)
    counts, seen = PatchCounts(len(crosswalk.legend)), _Overlaps()
    unmatched, names = Unmatched(), []
    tiling = model.card.tiling(settings.tile_size, settings.overlap)
    for index, (pair, scene) in enumerate(_open(labelled, model, settings, messages)):
        place = _place_of(pair)
        origin = (0, 0) if place is None else place.noise_origin
        alignment = _alignment_of(scene, place, labelled, model.card, settings.gsd_m)
        drawn = labelled.comparable(_draw(scene, origin, classify, settings, alignment, tiling))
        reference = ReferenceClasses(_InMemory(drawn.labels), labelled.legend, crosswalk)
        mapped = crosswalk.maps[0][drawn.channels]
        if gallery is not None:
            known = crosswalk.reference[drawn.labels]
            _show(gallery, scene, place, (known, mapped), protocol, model.card)
        for count in _count(mapped, reference, TileLines.of(drawn.grid), protocol, index):
            counts.add(count)
        unmatched = unmatched.joined(reference.unmatched)
        names.append(scene.name)
        seen.add(drawn.probe)
        messages.advance("mapping and comparing", index + 1, len(labelled.pairs))
    warn_of_unmatched(unmatched, messages)
    return Evaluation.of(
        counts,
        crosswalk.legend,
        protocol,
        name=str(path),
        reference=labelled.name,
        unmatched=unmatched,
        scenes=tuple(names),
        overlap_disagreement=seen.share,
    )


def _count(
    mapped: ClassIndices,
    reference: ReferenceClasses,
    lines: TileLines,
    protocol: Protocol,
    index: int,
) -> Iterator[PatchCount]:
    """Count the patches of the scene with a number."""
    classes = len(reference.crosswalk.legend)
    height, width = mapped.shape
    for patch in patches_of(height, width, protocol):
        yield count_patch(
            patch,
            reference.read(patch),
            mapped[patch.read.slices],
            classes,
            disc=protocol.disc,
            lines=lines,
            scene=index,
        )


def _show(
    gallery: Gallery,
    scene: LabelledScene,
    place: Raster | None,
    rasters: tuple[ClassIndices, ClassIndices],
    protocol: Protocol,
    card: ModelCard,
) -> None:
    """Keep pictures of a scene: reference, map and, where a screen can show it, the image."""
    known, mapped = rasters
    has_photo = card.dtype == "uint8" and set(COLORS) <= set(card.bands)
    colors = [card.bands.index(color) for color in COLORS] if has_photo else []
    gallery.begin(scene.name, scene.height, scene.width, scene=place, has_photo=has_photo)
    for patch in patches_of(scene.height, scene.width, protocol):
        part = patch.read.slices
        photo = None
        if has_photo:
            photo = np.moveaxis(scene.read(patch.read).image[colors], 0, -1)
        gallery.add(patch, known[part], [mapped[part]], photo)


@dataclass(frozen=True)
class _InMemory:
    """Labels held as channels."""

    channels: ClassIndices

    def read(self, window: Window) -> ClassIndices:
        return self.channels[window.slices]


@dataclass
class _Overlaps:
    """Sums over the overlaps of all scenes; mutable."""

    pixels: int = 0
    disagreements: int = 0

    def add(self, probe: OverlapProbe) -> None:
        self.pixels += probe.pixels
        self.disagreements += probe.disagreements

    @property
    def share(self) -> float | None:
        return self.disagreements / self.pixels if self.pixels else None


@dataclass(frozen=True)
class _Drawn:
    """A scene that was mapped."""

    channels: ClassIndices
    """(height, width), channels of the model's legend."""
    labels: ClassIndices
    """(height, width), channels of the labels' legend."""
    grid: TileGrid
    probe: OverlapProbe


@dataclass(frozen=True)
class _Labelled:
    """Images with labels, before they are opened."""

    name: str
    pairs: list[ScenePair]
    legend: Legend
    """The classes as the labels have them."""
    unscored: tuple[str, ...] = ()
    """Classes that the means leave out."""
    mapped: MappedSource | None = None
    """What the classes of the labels are of the model's, where their source says so."""

    @property
    def crosswalk(self) -> Crosswalk | None:
        """The classes that a source is compared in, which both rasters then have already."""
        return None if self.mapped is None else self.mapped.crosswalk

    def comparable(self, drawn: _Drawn) -> _Drawn:
        """A map and its labels in these classes."""
        if self.mapped is None:
            return drawn
        labels, channels = self.mapped.compare(drawn.labels, drawn.channels)
        return replace(drawn, labels=labels, channels=channels)


def _find(settings: EvaluateSettings, of_model: Legend, messages: Messages) -> _Labelled:
    """The benchmark, a source, or the user's own images and labels."""
    if settings.source is not None:
        mapped = MappedSource.of(settings.source, of_model, merging_of(settings))
        return _Labelled(
            settings.source.title or settings.source.name,
            mapped.pairs,
            mapped.legend,
            mapped.unscored,
            mapped,
        )
    if settings.benchmark is not None and settings.root is not None:
        benchmark = BENCHMARKS[settings.benchmark]
        return _Labelled(
            f"{benchmark.title} {settings.split}",
            benchmark.find(settings.root, settings.split),
            benchmark.coding,
            benchmark.unscored,
        )
    if settings.images is None or settings.labels is None:
        message = "settings of a model name a benchmark, or images and labels"
        raise TypeError(message)
    pairs = find_pairs(settings.images, settings.labels)
    if alone := images_without(pairs, settings.images):
        messages.warn(f"left out: {len(alone)} images without labels, the first {alone[0]}")
    for warning in warnings_of((pair.labels[0] for pair in pairs), settings.class_field):
        messages.warn(warning)
    return _Labelled(str(settings.labels), pairs, _legend_of_labels(settings, pairs, of_model))


def _legend_of_labels(
    settings: EvaluateSettings, pairs: Sequence[ScenePair], of_model: Legend
) -> Legend:
    """The classes as the labels name them; rasters without names have the ids of the model."""
    if settings.reference_legend is not None:
        return read_legend(settings.reference_legend)
    label = pairs[0].labels[0]
    if label.suffix.lower() in VECTOR_SUFFIXES:
        return legend_of_labels([pair.labels[0] for pair in pairs], settings.class_field)
    if label.suffix.lower() in PICTURE_SUFFIXES:
        return of_model
    return own_legend(open_raster(label)) or of_model


def _open(
    labelled: _Labelled, model: Model, settings: EvaluateSettings, messages: Messages
) -> Iterator[tuple[ScenePair, LabelledScene]]:
    """The scenes one after the other; those that cannot be opened are reported and skipped."""
    used, first_problem = 0, None
    for pair in labelled.pairs:
        try:
            scene = _open_one(pair, labelled.legend, model.card, settings, messages)
        except UnusableFileError as error:
            first_problem = first_problem or error
            messages.warn(f"left out: {error.message}")
            continue
        used += 1
        yield pair, scene
    if not used and first_problem is not None:
        raise first_problem


def _open_one(
    pair: ScenePair, legend: Legend, card: ModelCard, settings: EvaluateSettings, messages: Messages
) -> LabelledScene:
    bands: tuple[int, ...] | None = settings.bands or None
    if settings.source is not None and bands is None:
        bands = bands_of(settings.source, card.bands)[0]
    if pair.image.suffix.lower() not in PICTURE_SUFFIXES:
        contract = match(open_raster(pair.image), card, bands or ())
        for warning in contract.warnings:
            messages.warn(warning)
        bands = contract.bands
    if settings.source is None:
        scene = open_pair(pair, legend, bands, settings.class_field)
    else:
        own = settings.source
        scene = open_pair(pair, legend, bands, own.class_field, points_of(own))
    counts = (len(card.bands), len(card.required_bands))
    if scene.bands not in counts or scene.dtype != card.dtype:
        raise ModelMismatchError(
            f"{scene.name} has {scene.bands} bands of {scene.dtype}, the model needs "
            f"{len(card.bands)} of {card.dtype}",
            hint="Choose bands with `bands`, or another `model`.",
        )
    return scene


def _place_of(pair: ScenePair) -> Raster | None:
    """The georeference of an image; pictures have none."""
    if pair.image.suffix.lower() in PICTURE_SUFFIXES:
        return None
    return open_raster(pair.image)


def _alignment_of(
    scene: LabelledScene,
    place: Raster | None,
    labelled: _Labelled,
    card: ModelCard,
    gsd_m: PixelSize,
) -> int:
    """Pixels of a scene that stand for `ALIGNMENT` of the network, as `hyseg predict` finds it."""
    resolution = None if place is None else place.resolution_m()
    if resolution is None and labelled.mapped is not None:
        resolution = labelled.mapped.resolution_m
    return alignment_for(scene.name, resolution, card, gsd_m)


def _draw(
    scene: LabelledScene,
    noise_origin: tuple[int, int],
    classify: Classify,
    settings: EvaluateSettings,
    alignment: int,
    tiling: tuple[int, int],
) -> _Drawn:
    """Map a scene as `hyseg predict` does, and keep the labels that are read on the way."""
    if alignment != ALIGNMENT:
        classify = AtOtherResolution(classify, alignment)
    grid = TileGrid.cover(
        scene.height,
        scene.width,
        tile=tiling[0],
        overlap=tiling[1],
        phase=noise_origin,
        alignment=alignment,
    )
    labels = np.zeros((scene.height, scene.width), np.uint8)
    probe = OverlapProbe(classify, grid, noise_origin)
    block_run = whole_scene(grid)
    rows = map_strips(
        _strips(scene, grid, labels),
        grid,
        block_run,
        probe,
        batch_size=tiles_at_once(probe.device, settings.batch_size),
        noise_origin=noise_origin,
    )
    return _Drawn(np.concatenate([part.channels for part in rows]), labels, grid, probe)


def _strips(scene: LabelledScene, grid: TileGrid, labels: ClassIndices) -> Iterator[Strip]:
    """The strips of a scene; the labels of their finished rows are written to `labels`."""
    left = grid.cols.first
    width = grid.cols.starts[-1] + grid.cols.length - left
    for tile_row in grid.tile_rows():
        chip = scene.read(Window(tile_row.row, left, tile_row.height, width))
        rows = tile_row.finished
        inner = slice(rows.start - tile_row.row, rows.stop - tile_row.row)
        labels[rows.start : rows.stop] = chip.labels[inner, -left : scene.width - left]
        yield Strip(tile_row, left, Pixels(chip.image, chip.valid))
