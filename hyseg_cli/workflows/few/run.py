"""`hyseg train` with a few polygons: frozen features, a linear head, and what to expect of it."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyseg_cli import __version__
from hyseg_cli.errors import UsageProblemError
from hyseg_cli.learn.few.backbone import (
    build_probe,
    probe_config,
    radiometry_of,
)
from hyseg_cli.learn.few.design import design, set_head, set_moments
from hyseg_cli.learn.few.expected import Expected, expect, unlike_scenes
from hyseg_cli.learn.few.features import (
    TILE,
    Features,
    Moments,
    sample_block,
    spread_over,
)
from hyseg_cli.learn.few.polygons import Drawing, Ints
from hyseg_cli.learn.few.probe import Fit, Samples, fit_probe, fit_with_surroundings
from hyseg_cli.learn.inference.kept_tokens import keep_tokens
from hyseg_cli.learn.inference.precision import choose_precision
from hyseg_cli.learn.inference.predictor import choose_device
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.card import (
    TOKEN_OVERLAP,
    ModelCard,
    Radiometry,
    TrainingData,
    read_card,
)
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.learn.model.weights import save_model
from hyseg_cli.legend import Legend
from hyseg_cli.messages import Messages, format_duration
from hyseg_cli.settings.train import TrainSettings
from hyseg_cli.workflows.few.scenes import (
    DrawnScenes,
    names_of_bands,
    open_drawn_scenes,
    resolutions,
)
from hyseg_cli.workflows.outputs import require_free
from hyseg_models import HySeg

OWN = TILE - TOKEN_OVERLAP
"""Side of the part of a tile that lies in no other tile's middle."""
AROUND = 8_192
"""Pixels around polygons that are learned from at most, about."""
STEPS = (16, 32, 64, 128)
"""Distances between them in pixels, of which the smallest that is possible is taken."""


@dataclass(frozen=True)
class FewResult:
    """What a training on a few polygons left behind."""

    out: Path
    expected: Expected


@dataclass(frozen=True)
class FewPlan:
    """What such a training would do."""

    reason: str
    scenes: DrawnScenes
    polygons: tuple[int, ...]
    """Of each class."""
    tiles: int
    """Tiles of all scenes that polygons lie in."""
    kept: int
    """How many of them have features on disk."""
    backbone: str
    seconds: float
    """Until the features of all blocks are there, about; the head takes seconds more."""

    def to_text(self) -> str:
        """The plan as lines."""
        entries = zip(self.scenes.legend.names, self.polygons, strict=True)
        return "\n".join(
            [
                f"training           a linear head on a frozen {self.backbone}: {self.reason}",
                "                   (`thorough` trains the whole network instead)",
                f"training scenes    {', '.join(scene.name for scene in self.scenes.scenes)}",
                *(f"class {name:<20} {count} polygons" for name, count in entries),
                f"features           {self.tiles} tiles of {TILE} px, {self.kept} of them kept",
                f"time               about {format_duration(self.seconds)} for the features",
            ]
        )


@dataclass(frozen=True)
class _Work:
    """A training, ready to start."""

    settings: TrainSettings
    scenes: DrawnScenes
    network: HySeg
    radiometry: Radiometry
    features: tuple[Features, ...]
    """Of each scene."""
    donor: Path
    device: torch.device

    @property
    def places(self) -> list[tuple[int, tuple[int, int]]]:
        """Scene and tile of all places with polygons."""
        return sorted(
            {
                (index, (row, col))
                for index, scene in enumerate(self.scenes.scenes)
                for polygon in scene.drawing.polygons
                for row, col in self.features[index].places_of(polygon.rows, polygon.cols).tolist()
            }
        )


def run(settings: TrainSettings, reason: str, messages: Messages) -> FewResult:
    """Fit a probe to a few polygons and write the model file.

    Args:
        settings: The settings of the run.
        reason: Why this training was chosen, for the user.
        messages: Where progress goes.

    Raises:
        HysegError: One of its kinds, if scenes, polygons or the model to go on from cannot be
            used, or the file cannot be written.
    """
    require_free(settings.out, overwrite=settings.overwrite)
    messages.note(f"a linear head on a frozen transformer is trained: {reason}")
    work = _prepare(settings, messages)
    samples, around, moments = _collect(work, messages)
    kept, legend = _with_samples(samples, work.scenes.legend, messages)
    fitted = fit_probe(kept, len(legend), seed=settings.seed)
    fitted = fit_with_surroundings(fitted, kept, around)
    expected = expect(kept, fitted.held_out, legend.names)
    messages.note(
        f"{len(np.unique(kept.polygon))} polygons, {len(kept.channel)} of their pixels; penalty "
        f"{fitted.penalty:g}"
    )
    if fitted.shares is not None:
        common = zip(legend.names, fitted.shares, strict=True)
        shares = ", ".join(f"{name} {share:.0%}" for name, share in common)
        messages.note(f"around the polygons, of what is clear: {shares}")
    network = _fill(work, fitted, moments, len(legend))
    save_model(settings.out, network, _card(work, network, legend, fitted, expected))
    return FewResult(settings.out, expected)


def plan(settings: TrainSettings, reason: str, messages: Messages) -> FewPlan:
    """What `run` would do; errors as there."""
    require_free(settings.out, overwrite=settings.overwrite)
    work = _prepare(settings, messages)
    places = work.places
    missing = [at for at in places if not work.features[at[0]].is_kept(at[1])]
    counts = np.zeros(len(work.scenes.legend), np.int64)
    for channel, _ in {
        (polygon.channel, polygon.row)
        for scene in work.scenes.scenes
        for polygon in scene.drawing.polygons
    }:
        counts[channel] += 1
    return FewPlan(
        reason,
        work.scenes,
        tuple(counts.tolist()),
        len(places),
        len(places) - len(missing),
        work.network.config.probe.backbone,
        _seconds_of_features(work, missing),
    )


def _seconds_of_features(work: _Work, missing: list[tuple[int, tuple[int, int]]]) -> float:
    """Time of the tiles without features, measured on the first of them, which is kept."""
    if not missing:
        return 0.0
    scene, place = missing[0]
    began = time.perf_counter()
    work.features[scene].block(place)
    return (time.perf_counter() - began) * len(missing)


def _prepare(settings: TrainSettings, messages: Messages) -> _Work:
    donor = find_model(settings.start)
    scenes = open_drawn_scenes(settings, messages)
    bands, dtype = len(scenes.scenes[0].bands), scenes.scenes[0].dtype
    device = choose_device(settings.device)
    network = build_probe(donor, probe_config(read_card(donor), bands, len(scenes.legend)))
    radiometry = radiometry_of(donor, dtype, bands, scenes.radiometry)
    standardise = Standardise(radiometry).to(device)
    network.to(device)
    keep_tokens(network, device)
    precision = choose_precision(settings.precision, device.type)
    features = tuple(
        Features(scene.reader, network, standardise, precision=precision, device=device)
        for scene in scenes.scenes
    )
    return _Work(settings, scenes, network, radiometry, features, donor, device)


@dataclass(frozen=True)
class _Pixels:
    """Pixels of polygons on a scene; all arrays (n,)."""

    rows: Ints
    cols: Ints
    channel: Ints
    polygon: Ints
    """Row of the polygon in the file."""

    @classmethod
    def of(cls, drawing: Drawing) -> _Pixels:
        """Those of all polygons, one after the other."""
        drawn = drawing.polygons
        counts = [len(polygon.rows) for polygon in drawn]
        return cls(
            np.concatenate([polygon.rows for polygon in drawn]),
            np.concatenate([polygon.cols for polygon in drawn]),
            np.repeat([polygon.channel for polygon in drawn], counts),
            np.repeat([polygon.row for polygon in drawn], counts),
        )

    def part(self, chosen: npt.NDArray[np.bool_]) -> _Pixels:
        """Some of them."""
        return _Pixels(
            self.rows[chosen], self.cols[chosen], self.channel[chosen], self.polygon[chosen]
        )


def _collect(work: _Work, messages: Messages) -> tuple[Samples, Tensor, Moments]:
    """Features of the pixels of all polygons, of pixels around them, and moments of all."""
    by_scene: dict[int, Moments] = {}
    drawn = [_Pixels.of(scene.drawing) for scene in work.scenes.scenes]
    found: list[tuple[Tensor, _Pixels]] = []
    around, places, empty = [], work.places, set()
    step = next((s for s in STEPS if len(places) * (OWN // s) ** 2 <= AROUND), STEPS[-1])
    for done, (index, place) in enumerate(places):
        messages.advance("features", done, len(places))
        features, pixels = work.features[index], drawn[index]
        block = features.block(place)
        seen = Moments.of(block)
        by_scene[index] = by_scene[index] + seen if index in by_scene else seen
        around.append(sample_block(block, features.sizes, *spread_over(block, step)))
        own = pixels.part((features.places_of(pixels.rows, pixels.cols) == place).all(axis=1))
        is_valid = block.holds_data(own.rows, own.cols)
        empty |= set(own.polygon[~is_valid].tolist())
        own = own.part(is_valid)
        found.append((sample_block(block, features.sizes, own.rows, own.cols), own))
    messages.advance("features", len(places), len(places))
    if empty:
        messages.warn(f"{len(empty)} polygons lie on pixels without data, which are left out")
    if not any(len(own.rows) for _, own in found):
        raise UsageProblemError(
            "no polygon lies on pixels that hold data", hint="Check the scene's nodata value."
        )
    moments = reduce(add, by_scene.values())
    _compare_scenes(work, by_scene, moments, messages)
    set_moments(work.network, *moments.result())
    samples = Samples(
        design(work.network, torch.cat([features for features, _ in found])),
        np.concatenate([own.channel for _, own in found]),
        np.concatenate([own.polygon for _, own in found]),
    )
    return samples, design(work.network, torch.cat(around)), moments


def _compare_scenes(
    work: _Work, by_scene: Mapping[int, Moments], moments: Moments, messages: Messages
) -> None:
    mean, scale = moments.result()
    means: list[npt.NDArray[np.float64]] = [
        ((own.result()[0] - mean) * scale).double().numpy() for own in by_scene.values()
    ]
    text = unlike_scenes(means, [work.scenes.scenes[index].name for index in by_scene])
    if text is not None:
        messages.warn(text)


def _with_samples(samples: Samples, legend: Legend, messages: Messages) -> tuple[Samples, Legend]:
    """Samples and legend without the classes that no usable polygon has."""
    present = np.unique(samples.channel)
    absent = [name for c, name in enumerate(legend.names) if c not in present]
    if absent:
        messages.warn(f"left out of the classes: {', '.join(absent)}, without a usable polygon")
    if len(present) < 2:
        raise UsageProblemError(
            f"usable polygons have one class only, {legend.names[present[0]]}",
            hint="Draw at least one polygon of another class.",
        )
    classes = tuple(legend.classes[c] for c in present)
    channel = np.searchsorted(present, samples.channel)
    return replace(samples, channel=channel), replace(legend, classes=classes)


def _fill(work: _Work, fitted: Fit, moments: Moments, classes: int) -> HySeg:
    """The network with the fitted head."""
    network = build_probe(work.donor, replace(work.network.config, classes=classes))
    set_moments(network, *moments.result())
    set_head(network, fitted)
    return network


def _card(
    work: _Work, network: HySeg, legend: Legend, fitted: Fit, expected: Expected
) -> ModelCard:
    settings, scenes = work.settings, work.scenes
    sizes = resolutions(scenes.scenes, settings.resolution)
    donor = read_card(work.donor)
    return ModelCard(
        config=network.config,
        legend=legend,
        bands=names_of_bands(scenes, settings.band_names),
        dtype=scenes.scenes[0].dtype,
        mean=work.radiometry.mean,
        std=work.radiometry.std,
        limits=work.radiometry.limits,
        quantiles=scenes.quantiles,
        resolution_m=(min(sizes), max(sizes)) if sizes else None,
        tile_size=TILE,
        temperature=fitted.temperature,
        data=TrainingData(
            name=settings.data_name,
            licence=settings.licence,
            attribution=settings.attribution,
            training_scenes=tuple(scene.name for scene in scenes.scenes),
        ),
        training={
            "settings": {key: _plain(value) for key, value in asdict(settings).items()}
            | {"start": settings.start and Path(settings.start).name},
            "kind": "probe",
            "backbone_from": {"model": work.donor.name, "data": asdict(donor.data)}
            | {key: donor.training[key] for key in ("backbone",) if key in donor.training},
            "penalty": fitted.penalty,
            "shares": fitted.shares and dict(zip(legend.names, fitted.shares, strict=True)),
            "hyseg": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        metrics={"expected": expected.to_dict()},
    )


def _plain(value: Any) -> Any:
    """A setting as JSON; of a path only the name, because a model file must not reveal folders."""
    return value.name if isinstance(value, Path) else value
