"""`hyseg train`: labelled scenes -> prior -> network -> one model file."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from hyseg_cli import __version__
from hyseg_cli.console import Report
from hyseg_cli.errors import ModelMismatchError, UsageProblemError
from hyseg_cli.learn.card import ModelCard, TrainingData, load_model, save_model
from hyseg_cli.learn.chips import Augmentation, TrainingChips, ValidationChips
from hyseg_cli.learn.device import choose_device
from hyseg_cli.learn.diagnose import diagnose_prior
from hyseg_cli.learn.fit import FitOptions, fit, validation_loader
from hyseg_cli.learn.labelled import LabelledScene
from hyseg_cli.learn.metrics import Scores
from hyseg_cli.learn.modules import PriorStage, Recipe, SegmentationStage, Stage, fit_temperature
from hyseg_cli.learn.pairs import find_pairs
from hyseg_cli.learn.radiometry import BandStatistics, Standardise, measure_bands
from hyseg_cli.learn.scenes import open_pairs
from hyseg_cli.legend import Legend, read_legend
from hyseg_cli.settings import TrainSettings
from hyseg_cli.workflows.outputs import require_free
from hyseg_models import ConfigError, HySeg, HySegConfig, WeightsUnavailableError, build, preset

DIAGNOSED_BATCHES = 8
"""Batches of validation chips on which the prior's temperature is fitted and its worth measured."""


@dataclass(frozen=True)
class TrainResult:
    """What a training run left behind."""

    out: Path
    scores: Scores | None
    """Scores on the validation scenes, if there were any."""


@dataclass(frozen=True)
class _Data:
    """Scenes, opened and split."""

    training: list[LabelledScene]
    validation: list[LabelledScene]
    training_names: tuple[str, ...]
    validation_names: tuple[str, ...]


@dataclass(frozen=True)
class _Run:
    """What the steps of a training share."""

    settings: TrainSettings
    report: Report
    data: _Data
    network: HySeg
    standardise: Standardise


def run(settings: TrainSettings, report: Report) -> TrainResult:
    """Train both stages and write the model file.

    A run folder beside it, `NAME.run`, holds the logs and the model as it stood after stage 1.
    """
    require_free(settings.out, overwrite=settings.overwrite)
    _run_folder(settings).mkdir(exist_ok=True)
    pl.seed_everything(settings.seed, verbose=False)
    legend = read_legend(settings.legend)
    data = _open_data(settings, legend, report)
    statistics = measure_bands(data.training)
    config = _configure(settings, legend, data)
    network = _build(config, settings)
    card = _describe(settings, config, legend, data, statistics)
    training = _Run(settings, report, data, network, Standardise(statistics.mean, statistics.std))
    if network.prior is not None:
        card = replace(card, metrics={"prior": _train_prior(training)})
        save_model(_run_folder(settings) / "prior.safetensors", network, card)
    if not settings.pretrained:
        _share_encoder(network)
    stage = SegmentationStage(network, training.standardise, _recipe(settings, settings.steps))
    _fit(training, stage, name="segmentation")
    scores = stage.scores.get("segmentation")
    if scores is not None:
        card = replace(card, metrics=card.metrics | _metrics(scores, legend))
    save_model(settings.out, network, card)
    return TrainResult(settings.out, scores)


def _run_folder(settings: TrainSettings) -> Path:
    return settings.out.with_suffix(".run")


def _open_data(settings: TrainSettings, legend: Legend, report: Report) -> _Data:
    pairs = find_pairs(settings.images, settings.labels)
    names = sorted({pair.scene for pair in pairs})
    unknown = sorted(set(settings.val_scenes) - set(names))
    if unknown:
        raise UsageProblemError(
            f"--val-scenes {unknown[0]}: there is no such scene",
            hint=f"The scenes are {', '.join(names)}.",
        )
    held_out = tuple(name for name in names if name in settings.val_scenes)
    kept = tuple(name for name in names if name not in settings.val_scenes)
    if not kept:
        raise UsageProblemError(
            "--val-scenes leaves no scene to train on", hint="Keep at least one scene."
        )
    opened = list(zip(pairs, open_pairs(pairs, legend, settings.bands or None), strict=True))
    data = _Data(
        training=[scene for pair, scene in opened if pair.scene in kept],
        validation=[scene for pair, scene in opened if pair.scene in held_out],
        training_names=kept,
        validation_names=held_out,
    )
    report.note(
        f"{len(data.training)} images of {len(kept)} scenes to train on, "
        f"{len(data.validation)} of {len(held_out)} to validate"
    )
    return data


def _configure(settings: TrainSettings, legend: Legend, data: _Data) -> HySegConfig:
    try:
        config = preset(settings.preset)
    except ConfigError as error:
        raise UsageProblemError(f"--preset: {error}", hint="Choose one of these.") from error
    return replace(config, bands=data.training[0].bands, classes=len(legend))


def _build(config: HySegConfig, settings: TrainSettings) -> HySeg:
    try:
        network = build(config, pretrained=settings.pretrained)
    except WeightsUnavailableError as error:
        raise UsageProblemError(
            str(error), hint="Go online once, or train from random weights without --pretrained."
        ) from error
    if settings.prior is not None:
        _take_over_prior(network, settings.prior)
    elif network.segmentor is not None:
        raise UsageProblemError(
            f"--preset {settings.preset} uses another model as its prior",
            hint="Train that one first and give it with --prior MODEL.",
        )
    return network


def _take_over_prior(network: HySeg, path: Path) -> None:
    """Copy the prior of another model, or that whole model where it is to serve as the prior."""
    donor = load_model(path).network
    target: nn.Module | None = network.prior
    source: nn.Module | None = donor.prior
    same = donor.config.prior == network.config.prior
    if network.segmentor is not None:
        target, source = network.segmentor, donor
        same = donor.config.host == network.config.head.segmentor
        same = same and donor.config.head.kind == "none"
    same = same and donor.config.classes == network.config.classes
    if not same or target is None or source is None:
        raise ModelMismatchError(
            f"the prior of {path} is not built like that of this run",
            hint="Use the same --preset, legend and bands as the model's own training.",
        )
    target.load_state_dict(source.state_dict())
    if network.prior is not None:
        network.temperature.copy_(donor.temperature)


def _train_prior(training: _Run) -> dict[str, float]:
    """Stage 1, unless a prior was taken over; what is measured of the prior afterwards."""
    settings = training.settings
    if settings.prior is None and settings.prior_steps > 0:
        recipe = _recipe(settings, settings.prior_steps, prior=True)
        _fit(training, PriorStage(training.network, training.standardise, recipe), name="prior")
    network, standardise = training.network.to("cpu").eval(), training.standardise.to("cpu")
    chips = _validation_chips(training.data.validation or training.data.training, settings)
    some = list(islice(validation_loader(chips, settings.batch_size), DIAGNOSED_BATCHES))
    if settings.prior is None:
        network.temperature.fill_(fit_temperature(network, standardise, some))
    found = diagnose_prior(network, standardise, some)
    training.report.note(
        "prior: " + ", ".join(f"{name} {value:.3f}" for name, value in found.to_dict().items())
    )
    for warning in found.warnings():
        training.report.warn(warning)
    return found.to_dict()


def _share_encoder(network: HySeg) -> None:
    """Start the host's backbone from the prior's encoder, as far as both are the same network.

    Without pretrained weights the host would learn from nothing what the encoder has just
    learned. The bare host has no such start: comparisons must give it the same.
    """
    if network.prior is None or network.config.prior.condition.kind != "timm":
        return
    if network.config.prior.condition.backbone != network.config.host.backbone:
        return
    target = network.backbone.state_dict()
    learned = network.prior.condition.body.state_dict()
    target.update({name: value for name, value in learned.items() if name in target})
    network.backbone.load_state_dict(target)


def _recipe(settings: TrainSettings, steps: int, *, prior: bool = False) -> Recipe:
    rate = settings.prior_rate if prior else settings.rate
    return Recipe(
        steps=steps,
        learning_rate=rate,
        encoder_rate=rate * (0.1 if settings.pretrained else 1.0),
        betas=(0.9, 0.95) if prior else (0.9, 0.999),
    )


def _fit(training: _Run, stage: Stage, *, name: str) -> None:
    settings, data = training.settings, training.data
    chips = TrainingChips(
        data.training,
        size=settings.chip_size,
        count=stage.recipe.steps * settings.batch_size,
        seed=settings.seed + (name == "segmentation"),
        augmentation=Augmentation(scale=(settings.min_scale, settings.max_scale)),
    )
    options = FitOptions(
        batch_size=settings.batch_size,
        workers=settings.workers,
        val_every=settings.val_every,
        device=choose_device(settings.device),
        log_folder=_run_folder(settings),
    )
    validation = _validation_chips(data.validation, settings) if data.validation else None
    fit(stage, chips, validation, name=name, options=options, report=training.report)


def _validation_chips(scenes: Sequence[LabelledScene], settings: TrainSettings) -> ValidationChips:
    return ValidationChips(scenes, size=2 * settings.chip_size)


def _describe(
    settings: TrainSettings,
    config: HySegConfig,
    legend: Legend,
    data: _Data,
    statistics: BandStatistics,
) -> ModelCard:
    rgb = ("red", "green", "blue")
    names = settings.band_names or (
        rgb if config.bands == 3 else tuple(f"band{i}" for i in range(1, config.bands + 1))
    )
    resolutions = [r for s in data.training if (r := getattr(s, "resolution_m", None)) is not None]
    return ModelCard(
        config=config,
        legend=legend,
        bands=names,
        dtype=data.training[0].dtype,
        mean=statistics.mean,
        std=statistics.std,
        resolution_m=(
            (min(resolutions) / settings.max_scale, max(resolutions) / settings.min_scale)
            if resolutions
            else None
        ),
        tile_size=settings.chip_size,
        data=TrainingData(
            name=settings.data_name,
            licence=settings.licence,
            attribution=settings.attribution,
            training_scenes=data.training_names,
            validation_scenes=data.validation_names,
        ),
        training={
            "settings": {key: _plain(value) for key, value in asdict(settings).items()},
            "hyseg": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )


def _plain(value: Any) -> Any:
    """A setting as JSON; of a path only the name, a model file must not tell of folders."""
    return value.name if isinstance(value, Path) else value


def _metrics(scores: Scores, legend: Legend) -> dict[str, Any]:
    return {
        "miou": scores.mean_iou,
        "overall_accuracy": scores.overall_accuracy,
        "iou": dict(zip(legend.names, scores.iou.tolist(), strict=True)),
        "pixels": scores.pixels,
    }
