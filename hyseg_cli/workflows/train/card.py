"""The card of a model that is being trained."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from hyseg_cli import __version__
from hyseg_cli.learn.data.benchmarks import BENCHMARKS
from hyseg_cli.learn.model.card import ModelCard, Radiometry, SourceRecord, TrainingData
from hyseg_cli.learn.scores.metrics import Scores
from hyseg_cli.learn.sources.source_scores import Collapse
from hyseg_cli.legend import Legend
from hyseg_cli.settings.train import TrainSettings
from hyseg_cli.workflows.sources import Source
from hyseg_cli.workflows.train.network import band_names
from hyseg_cli.workflows.train.scenes import TrainingScenes
from hyseg_models import HySegConfig


def describe(
    settings: TrainSettings, config: HySegConfig, data: TrainingScenes, radiometry: Radiometry
) -> ModelCard:
    """The card of a network before its first step, without scores."""
    benchmark = BENCHMARKS[settings.benchmark] if settings.benchmark else None
    sizes = _pixels_by_size(data)
    resolutions = list(sizes) or list(settings.resolution)
    return ModelCard(
        config=config,
        legend=data.legend,
        bands=band_names(settings, config.bands),
        optional_bands=settings.optional_bands,
        dtype=data.training[0].dtype,
        mean=radiometry.mean,
        std=radiometry.std,
        limits=radiometry.limits,
        quantiles=data.survey.quantiles,
        resolution_m=(
            (min(resolutions) / settings.max_scale, max(resolutions) / settings.min_scale)
            if resolutions
            else None
        ),
        best_resolution_m=settings.map_resolution or _median_size(sizes, settings.resolution),
        tile_size=settings.chip_size,
        data=TrainingData(
            name=settings.data_name or (benchmark.title if benchmark else _all("title", settings)),
            licence=settings.licence
            or (benchmark.licence if benchmark else _all("licence", settings)),
            attribution=settings.attribution or _all("attribution", settings),
            training_scenes=data.training_names,
            validation_scenes=data.validation_names,
            sources=() if data.sources is None else tuple(map(_record, data.sources.sources)),
        ),
        training={
            "settings": {key: _plain(value) for key, value in asdict(settings).items()}
            | {"start": settings.start and Path(settings.start).name},
            "hyseg": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )


def _pixels_by_size(data: TrainingScenes) -> dict[float, int]:
    """Pixels of the training scenes by their ground size in metres, where it is known."""
    found: Counter[float] = Counter()
    for scene in data.training:
        size = getattr(scene, "resolution_m", None)
        if size is not None:
            found[size] += scene.height * scene.width
    return dict(found)


def _median_size(pixels: Mapping[float, int], stated: tuple[float, ...]) -> float | None:
    """The ground size of the middle one of all pixels; else the mean of what was stated."""
    if not pixels:
        return sum(stated) / len(stated) if stated else None
    so_far, half = 0, sum(pixels.values()) / 2
    return next(size for size in sorted(pixels) if (so_far := so_far + pixels[size]) >= half)


def _all(field: str, settings: TrainSettings) -> str:
    """What all sources say of themselves, each once."""
    found = dict.fromkeys(getattr(source, field) for source in settings.sources)
    return "; ".join(text for text in found if text)


def _record(source: Source) -> SourceRecord:
    own = source.settings
    return SourceRecord(
        name=own.name,
        title=own.title,
        licence=own.licence,
        attribution=own.attribution,
        classes=own.rules,
        images=len(source.pairs),
    )


def _plain(value: Any) -> Any:
    """A setting as JSON; of a path only the name, because a model file must not reveal folders."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value.name if isinstance(value, Path) else value


def metrics_of(scores: Scores, legend: Legend) -> dict[str, Any]:
    """The scores of a validation, for the card."""
    return {
        "miou": scores.mean_iou,
        "overall_accuracy": scores.overall_accuracy,
        "iou": dict(zip(legend.names, scores.iou.tolist(), strict=True)),
        "pixels": scores.pixels,
    }


def metrics_of_sources(
    scores: Mapping[str, Scores], collapses: Mapping[str, Collapse]
) -> dict[str, Any]:
    """The scores on the held-out scenes of each source that has some, for the card."""
    return {
        name.removeprefix("source "): metrics_of(scores[name], collapse.legend)
        for name, collapse in collapses.items()
        if scores[name].pixels
    }
