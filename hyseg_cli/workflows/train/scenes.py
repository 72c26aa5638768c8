"""The scenes of a training, their use and their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyseg_cli.errors import UnusableFileError, UsageProblemError
from hyseg_cli.geo.suffixes import VECTOR_SUFFIXES
from hyseg_cli.learn.data.benchmarks import BENCHMARKS
from hyseg_cli.learn.data.chip import LabelledScene
from hyseg_cli.learn.data.chips import Pool
from hyseg_cli.learn.data.labelled_scene import open_pair, require_one_kind
from hyseg_cli.learn.data.pairs import ScenePair, find_pairs, images_without
from hyseg_cli.learn.data.split import RelabelledScene, split_scene
from hyseg_cli.learn.data.statistics import (
    Places,
    SceneCounts,
    Survey,
    count_scene,
    sample_share,
    survey,
)
from hyseg_cli.learn.sources.label_sets import LabelSets
from hyseg_cli.legend import NODATA_ID, Legend, read_legend
from hyseg_cli.messages import Messages
from hyseg_cli.settings.train import TrainSettings
from hyseg_cli.workflows.train.sources import (
    OpenedScene,
    Sources,
    match_sources,
    open_sources,
    pools_of,
)

Named = tuple[str, LabelledScene]
"""Name of the scene that an image belongs to, and the image with its labels."""


@dataclass(frozen=True)
class TrainingScenes:
    """Labelled images, opened and split by scene or by location."""

    legend: Legend
    training: list[LabelledScene]
    validation: list[LabelledScene]
    training_names: tuple[str, ...]
    validation_names: tuple[str, ...]
    survey: Survey
    """Statistics of the training scenes."""
    places: Places
    """Where each class occurs in them."""
    labels: LabelSets
    """What the values of their labels stand for."""
    sources: Sources | None = None
    """Where there are several."""
    pools: tuple[Pool, ...] = ()
    """The training scenes by source, to draw chips from; empty where there is one source."""


def open_training_scenes(settings: TrainSettings, messages: Messages) -> TrainingScenes:
    """Find, open and split the scenes that the settings name.

    Raises:
        UsageProblemError: If nothing is left to train on, or a requested scene does not exist.
        HysegError: If labels do not fit their images or the legend.
    """
    if settings.sources:
        return _open_of_sources(settings, messages)
    if settings.benchmark is not None and settings.root is not None:
        benchmark = BENCHMARKS[settings.benchmark]
        legend, coding = benchmark.legend, benchmark.coding
        training = _open(benchmark.find(settings.root, "train"), coding, settings, messages)
        validation = _open(benchmark.find(settings.root, "val"), coding, settings, messages)
    else:
        legend, training, validation = _open_own(settings, messages)
    share = sample_share([scene for _, scene in training])
    training, counts = _read_once(training, len(legend), share, messages)
    validation, _ = _read_once(validation, len(legend), 0.0, messages)
    if not training:
        raise UsageProblemError(
            "no scene is left to train on", hint="Keep at least one out of the validation."
        )
    require_one_kind([scene for _, scene in (*training, *validation)])
    if settings.benchmark is None and settings.legend is None:
        legend, table = _classes_with_pixels(legend, counts, messages)
        training, validation = _relabelled(training, table), _relabelled(validation, table)
        counts = [scene.of_classes(table[: len(scene.labelled)] != NODATA_ID) for scene in counts]
    scenes = TrainingScenes(
        legend,
        [scene for _, scene in training],
        [scene for _, scene in validation],
        _names(training),
        _names(validation),
        survey(counts, is_8_bit=training[0][1].dtype == "uint8"),
        Places.of([scene.occurrence for scene in counts]),
        LabelSets(len(legend)),
    )
    _report_number(scenes, messages)
    return scenes


def _report_number(scenes: TrainingScenes, messages: Messages) -> None:
    messages.note(
        f"{len(scenes.training)} images of {len(scenes.training_names)} scenes to train on, "
        f"{len(scenes.validation)} of {len(scenes.validation_names)} to validate"
    )


def _open_of_sources(settings: TrainSettings, messages: Messages) -> TrainingScenes:
    """The scenes of several sources; their legends are matched before any is opened."""
    found = match_sources(settings)
    opened, held_out = open_sources(found, settings, messages)
    share = sample_share([one.scene for one in opened])
    values = len(found.labels)
    training, counts = _read_once(_named(opened), values, share, messages)
    validation, _ = _read_once(_named(held_out), values, 0.0, messages)
    if not training:
        raise UsageProblemError(
            "no scene is left to train on", hint="Keep at least one out of the validation."
        )
    require_one_kind([scene for _, scene in (*training, *validation)])
    read = {id(scene) for _, scene in training}
    usable = [one for one in opened if id(one.scene) in read]
    measured = survey(counts, is_8_bit=training[0][1].dtype == "uint8")
    by_class = found.labels.counts_of_classes(np.array(measured.labelled))
    pools = pools_of(found, usable, counts, by_class=settings.sampling == "classes")
    scenes = TrainingScenes(
        found.legend,
        [scene for _, scene in training],
        [scene for _, scene in validation],
        _names(training),
        _names(validation),
        replace(measured, labelled=tuple(np.ceil(by_class).astype(int).tolist())),
        Places.of([scene.occurrence for scene in counts]),
        found.labels,
        found,
        pools,
    )
    _report_number(scenes, messages)
    return scenes


def _named(opened: Sequence[OpenedScene]) -> list[Named]:
    return [(one.name, one.scene) for one in opened]


def _open_own(
    settings: TrainSettings, messages: Messages
) -> tuple[Legend, list[Named], list[Named]]:
    """Legend, training part and validation part of the user's images and labels."""
    if settings.images is None or settings.labels is None:
        message = "settings without images and labels name a benchmark"
        raise TypeError(message)
    pairs = find_pairs(settings.images, settings.labels)
    alone = images_without(pairs, settings.images)
    if alone:
        messages.warn(f"left out: {len(alone)} images without labels, the first {alone[0]}")
    legend = require_two(legend_of(settings, pairs, messages))
    named = _open(pairs, legend, settings, messages)
    if settings.val_images is None or settings.val_labels is None:
        return legend, *_split(named, settings)
    other = find_pairs(settings.val_images, settings.val_labels)
    measured_on = {pair.image.resolve() for pair in other}
    rest = [entry for entry in named if Path(entry[1].name).resolve() not in measured_on]
    return legend, rest, _open(other, legend, settings, messages)


def _warn_of_strays(labels: Sequence[Path], settings: TrainSettings, messages: Messages) -> None:
    if not any(path.suffix.lower() in VECTOR_SUFFIXES for path in labels):
        return
    from hyseg_cli.learn.data.label_sources import warnings_of  # GDAL only where it is needed

    for warning in warnings_of(labels, settings.class_field):
        messages.warn(warning)


def _classes_with_pixels(
    legend: Legend, counts: Sequence[SceneCounts], messages: Messages
) -> tuple[Legend, npt.NDArray[np.uint8]]:
    """The classes of a legend made from labels that can be learned, and their new indices."""
    present = np.sum([scene.labelled for scene in counts], axis=0) > 0
    table = np.full(NODATA_ID + 1, NODATA_ID, np.uint8)
    if not present.any():
        present[:] = True  # the survey reports that nothing is labelled
    kept = [entry for entry, is_kept in zip(legend.classes, present, strict=True) if is_kept]
    absent = [entry.name for entry in legend.classes if entry not in kept]
    if absent:
        messages.warn(
            f"left out of the classes: {', '.join(absent)}, without a pixel in a training scene; "
            "elsewhere they count as unlabelled"
        )
    table[np.flatnonzero(present)] = np.arange(len(kept))
    return require_two(replace(legend, classes=tuple(kept))), table


def _relabelled(named: list[Named], table: npt.NDArray[np.uint8]) -> list[Named]:
    return [(name, RelabelledScene(scene, table)) for name, scene in named]


def require_two(legend: Legend) -> Legend:
    """The legend itself, if it has at least two classes.

    Raises:
        UsageProblemError: If it has one class only.
    """
    if len(legend) < 2:
        raise UsageProblemError(
            f"there is one class only, {legend.names[0]}",
            hint="Label at least one other, such as everything else.",
        )
    return legend


def _names(named: Sequence[Named]) -> tuple[str, ...]:
    return tuple(sorted({name for name, _ in named}))


def legend_of(settings: TrainSettings, pairs: Sequence[ScenePair], messages: Messages) -> Legend:
    """The legend that was given, or else the classes that the labels have."""
    if settings.legend is not None:
        return read_legend(settings.legend).require_for_maps()
    from hyseg_cli.learn.data.legends import legend_of_labels  # GDAL only where it is needed

    paths = sorted({path for pair in pairs for path in pair.labels})
    legend = legend_of_labels(paths, settings.class_field).require_for_maps()
    messages.note(
        "classes of the labels: "
        + ", ".join(f"{entry.id} {entry.name}" for entry in legend.classes)
    )
    return legend


def _open(
    pairs: Sequence[ScenePair], legend: Legend, settings: TrainSettings, messages: Messages
) -> list[Named]:
    """The scenes that can be opened; others are reported and skipped."""
    usable, first_problem = [], None
    for pair in pairs:
        try:
            scene = open_pair(pair, legend, settings.bands or None, settings.class_field)
        except UnusableFileError as error:
            first_problem = first_problem or error
            messages.warn(f"left out: {error.message}")
            continue
        usable.append((pair.scene, scene))
    if not usable and first_problem is not None:
        raise first_problem
    return usable


def _read_once(
    named: list[Named], classes: int, share: float, messages: Messages
) -> tuple[list[Named], list[SceneCounts]]:
    """The scenes of which every pixel and label can be read, with their counts.

    Errors that would stop the training later are raised here.
    """
    usable: list[Named] = []
    counts: list[SceneCounts] = []
    first_problem = None
    for done, (name, scene) in enumerate(named, 1):
        try:
            counts.append(count_scene(scene, classes, share))
        except UnusableFileError as error:
            first_problem = first_problem or error
            messages.warn(f"left out: {error.message}")
            continue
        usable.append((name, scene))
        messages.advance("reading the scenes", done, len(named))
    if not usable and first_problem is not None:
        raise first_problem
    return usable, counts


def _split(named: list[Named], settings: TrainSettings) -> tuple[list[Named], list[Named]]:
    names = _names(named)
    unknown = sorted(set(settings.val_scenes) - set(names))
    if unknown:
        raise UsageProblemError(
            f"`val_scenes` {unknown[0]}: there is no such scene",
            hint=f"The scenes are {', '.join(names)}.",
        )
    held_out = set(settings.val_scenes)
    if settings.val_split and len(names) == 1:
        return _split_by_place(named, settings.val_split)
    if settings.val_split:
        held_out = _draw_scenes(named, settings.val_split, settings.seed)
    training = [entry for entry in named if entry[0] not in held_out]
    return training, [entry for entry in named if entry[0] in held_out]


def _split_by_place(named: list[Named], share: float) -> tuple[list[Named], list[Named]]:
    """Hold out a slice of each image."""
    training: list[Named] = []
    validation: list[Named] = []
    for name, scene in named:
        parts, held_out = split_scene(scene, share)
        training += [(name, part) for part in parts]
        validation.append((name, held_out))
    return training, validation


def _draw_scenes(named: list[Named], share: float, seed: int) -> set[str]:
    """Whole scenes at random, until they hold a share of all pixels; at least one is left."""
    pixels: dict[str, int] = {}
    for name, scene in named:
        pixels[name] = pixels.get(name, 0) + scene.height * scene.width
    held_out: set[str] = set()
    for name in np.random.default_rng(seed).permutation(sorted(pixels)).tolist()[:-1]:
        if sum(pixels[chosen] for chosen in held_out) >= share * sum(pixels.values()):
            break
        held_out.add(name)
    return held_out
