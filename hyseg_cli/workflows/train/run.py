"""`hyseg train`: labelled scenes -> prior -> network -> one model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import lightning.pytorch as pl

from hyseg_cli.learn.data.chip import LabelledScene
from hyseg_cli.learn.data.chips import Augmentation, TrainingChips, ValidationChips
from hyseg_cli.learn.data.statistics import Survey, class_weights
from hyseg_cli.learn.inference.precision import Precision
from hyseg_cli.learn.inference.predictor import choose_device
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.applicability import Applicability
from hyseg_cli.learn.model.card import ModelCard
from hyseg_cli.learn.model.weights import load_model, save_model
from hyseg_cli.learn.scores.metrics import Scores
from hyseg_cli.learn.training.callbacks import Show as StepShow
from hyseg_cli.learn.training.fit import FitOptions, fit, measure
from hyseg_cli.learn.training.loggers import require_loggers
from hyseg_cli.learn.training.processes import Processes, find_processes
from hyseg_cli.learn.training.recipe import Recipe
from hyseg_cli.learn.training.stages import PriorStage, SegmentationStage, Stage, prior_of
from hyseg_cli.learn.training.weight_blending import Interpolation
from hyseg_cli.legend import Legend
from hyseg_cli.messages import Messages, Silence
from hyseg_cli.settings.train import TrainSettings
from hyseg_cli.workflows.outputs import require_free
from hyseg_cli.workflows.train.card import describe, metrics_of, metrics_of_sources
from hyseg_cli.workflows.train.features import kept_features
from hyseg_cli.workflows.train.looks import Looking, what_was_seen
from hyseg_cli.workflows.train.network import (
    Start,
    radiometry_for,
    share_encoder,
    start_network,
)
from hyseg_cli.workflows.train.prior import PriorTrial, learn_label_space
from hyseg_cli.workflows.train.run_folder import RunFolder
from hyseg_cli.workflows.train.scenes import TrainingScenes, open_training_scenes
from hyseg_cli.workflows.train.state import Pace, Show, TrainingState, show_nothing
from hyseg_models import HySeg
from hyseg_models.config.config import HeadConfig

FINE_TUNING_RATE = 0.3
"""Learning rate of a network that starts from a model, relative to that of a new one."""

HALF_WAY, TAUGHT = 0.5, 1.0
"""Mixes of the old weights (0) and the new ones (1) that are compared."""


@dataclass(frozen=True)
class TrainResult:
    """The result of a training run."""

    out: Path
    scores: Scores | None
    """Scores on the validation scenes, if there were any."""


@dataclass(frozen=True)
class _Run:
    """What the steps of a training share."""

    settings: TrainSettings
    messages: Messages
    data: TrainingScenes
    start: Start
    standardise: Standardise
    folder: RunFolder
    processes: Processes
    precision: Precision
    show: Show

    @property
    def network(self) -> HySeg:
        """The network that is trained."""
        return self.start.network

    @property
    def validation(self) -> ValidationChips | None:
        """The validation data, if anything is held out."""
        scenes = self.data.validation
        return _validation_chips(scenes, self.settings) if scenes else None

    def options(self, show: StepShow | None = None) -> FitOptions:
        """How both stages are run.

        Args:
            show: Shows how far the stage is.
        """
        settings = self.settings
        return FitOptions(
            batch_size=settings.batch_size,
            workers=settings.workers,
            val_every=settings.val_every,
            device=choose_device(settings.device),
            precision=self.precision,
            log_folder=self.folder.path,
            save_every=settings.save_every or settings.val_every,
            patience=settings.patience,
            loggers=settings.chosen_loggers,
            processes=self.processes,
            resume=settings.resume,
            show=show,
        )

    def state(
        self, stage: str, step: int, scores: Mapping[str, Scores], pace: float | None = None
    ) -> TrainingState:
        """The training after a step of a stage."""
        stage_steps = self.settings.stage_steps
        return TrainingState(
            settings=self.settings,
            scenes=self.data,
            folder=self.folder.path,
            parameters=sum(parameter.numel() for parameter in self.network.parameters()),
            stage=stage,
            step=step,
            steps=stage_steps[0 if stage == "prior" else 1],
            scores=scores,
            seconds_per_step=pace,
        )


def run(
    settings: TrainSettings, messages: Messages, show: Show = show_nothing
) -> TrainResult | None:
    """Train both stages, or the one that is asked for, and write the model file.

    A run folder beside it, `NAME.run`, holds the logs, the model after stage 1, and the state from
    which a stopped run continues exactly.

    Args:
        settings: The training.
        messages: Where progress goes.
        show: Shows how far it is, in the first process; called often, so it has to be quick.

    Returns:
        The result; None in all processes but the first, which write and report nothing.
    """
    processes = find_processes(settings.devices)
    processes.share_of(settings.batch_size)
    if not processes.is_first:
        messages = Silence()
    require_free(settings.out, overwrite=settings.overwrite)
    require_loggers(settings.chosen_loggers)
    pl.seed_everything(settings.seed, verbose=False)
    scenes = open_training_scenes(settings, messages)
    _warn_of_absent_classes(scenes.legend, scenes.survey, messages)
    start = start_network(settings, scenes, messages)
    _warn_of_small_chips(start.network.config.head, settings.chip_size, messages)
    if settings.prior_steps and start.network.prior is None:
        messages.warn("`prior_steps`: this network has no prior; `preset` default has one")
    folder = RunFolder(settings)
    with folder.at_work() if processes.is_first else nullcontext():
        return _train(settings, messages, scenes, start, folder, processes, show)


def _train(
    settings: TrainSettings,
    messages: Messages,
    scenes: TrainingScenes,
    start: Start,
    folder: RunFolder,
    processes: Processes,
    show: Show,
) -> TrainResult | None:
    precision = folder.precision(choose_device(settings.device).type)
    radiometry = radiometry_for(settings, scenes, start.provenance)
    standardise = Standardise(radiometry)
    training = _Run(
        settings, messages, scenes, start, standardise, folder, processes, precision, show
    )
    card = describe(settings, start.network.config, scenes, radiometry)
    card = replace(card, training=card.training | start.origin)
    card = _first_stage(training, card)
    scores = applicability = None
    if settings.stage != "prior":
        card, scores, applicability = _second_stage(training, card)
    if not processes.is_first:
        return None
    save_model(settings.out, start.network, card, applicability=applicability)
    found = {} if scores is None else {"segmentation": scores}
    name = "prior" if settings.stage == "prior" else "segmentation"
    last = training.state(name, 0, found)
    show(replace(last, step=int(card.metrics.get("step", last.steps)), is_done=True))
    return TrainResult(settings.out, scores)


def _first_stage(training: _Run, card: ModelCard) -> ModelCard:
    """Train or load the prior; returns the card with its scores."""
    settings, network, folder = training.settings, training.network, training.folder
    card = replace(card, has_segmentation=settings.stage != "prior")
    if settings.resume and folder.prior.is_file():
        done = load_model(folder.prior)
        network.load_state_dict(done.network.state_dict())
        return done.card
    if network.prior is not None:
        card = replace(card, metrics={"prior": _train_prior(training)})
        if training.processes.is_first:
            # In full precision: a continued run ends like one that was never stopped.
            save_model(folder.prior, network, card, half=False)
    return card


def _second_stage(
    training: _Run, card: ModelCard
) -> tuple[ModelCard, Scores | None, Applicability | None]:
    """Train the segmentation; the card with its validation scores, these, and what was seen."""
    settings, network, scenes = training.settings, training.network, training.data
    if not settings.has_start:
        share_encoder(network)
    stage = SegmentationStage(
        network,
        training.standardise,
        _recipe(settings),
        frozen=network.backbone if settings.freeze == "backbone" else None,
        weights=_weights(settings, scenes, training.messages),
        labels=scenes.labels,
        collapses=scenes.sources.collapses if scenes.sources else None,
    )
    step = _fit(training, stage, name="segmentation")
    if training.start.known:
        share = _blend(training, stage)
        card = replace(card, training=card.training | {"blend": share})
    scores = stage.scores.get("segmentation")
    if scores is not None:
        measured = metrics_of(scores, scenes.legend) | {"step": step}
        if scenes.sources is not None:
            measured["sources"] = metrics_of_sources(stage.scores, scenes.sources.collapses)
        card = replace(card, metrics=card.metrics | measured)
    if not training.processes.is_first:
        return card, scores, None
    card = replace(card, metrics=card.metrics | _trial(training, "segmentation").of_use())
    device, messages = choose_device(settings.device), training.messages
    looking = Looking(network, training.standardise, card, device, messages)
    return card, scores, what_was_seen(looking, scenes, training.start.donor)


def _blend(training: _Run, stage: SegmentationStage) -> float:
    """Mix the old weights into the new ones; returns the share of the new ones."""
    wanted, validation, start = training.settings.blend, training.validation, training.start
    weights = Interpolation(stage.network, start.known)
    scores = {TAUGHT: stage.scores}
    watched = {TAUGHT: stage.watched} if stage.scores else {}

    def go(share: float) -> None:
        weights.go(share)
        if validation is not None and share not in scores:
            measure(stage, validation, training.options())
            scores[share], watched[share] = stage.scores, stage.watched
        stage.scores = scores.get(share, {})

    if wanted is None and validation is None:
        wanted = HALF_WAY if start.is_complete else TAUGHT
    if wanted is None:
        go(HALF_WAY)
        wanted = max(scores, key=lambda share: watched[share])
        text = ", ".join(f"{share:g}: {watched[share]:.3f}" for share in sorted(scores))
        training.messages.note(f"mean IoU by the share of the new weights: {text}")
    go(wanted)
    training.messages.note(f"the weights are {wanted:.0%} of the way to the new ones")
    return wanted


def _warn_of_absent_classes(legend: Legend, found: Survey, messages: Messages) -> None:
    absent = [name for name, count in zip(legend.names, found.labelled, strict=True) if count == 0]
    if absent:
        messages.warn(f"no training pixel is labelled {', '.join(absent)}: it cannot be learned")


def _warn_of_small_chips(head: HeadConfig, chip_size: int, messages: Messages) -> None:
    if chip_size < head.least_chip:
        messages.warn(
            f"chips of {chip_size} pixels are smaller than one neighbourhood of the coarsest "
            f"level, which a map's tiles hold many of: take `chip_size` {head.least_chip} or more"
        )


def _weights(
    settings: TrainSettings, scenes: TrainingScenes, messages: Messages
) -> tuple[float, ...] | None:
    weights = class_weights(scenes.survey.labelled, settings.class_weights)
    if weights is not None:
        pairs = zip(scenes.legend.names, weights, strict=True)
        messages.note("weights: " + ", ".join(f"{name} {weight:.2f}" for name, weight in pairs))
    return weights


def _train_prior(training: _Run) -> dict[str, float]:
    """Run stage 1 unless a prior was given; returns the scores of the prior."""
    settings = training.settings
    if settings.prior is None and settings.stage_steps[0] > 0:
        recipe = _recipe(settings, prior=True)
        labels = training.data.labels
        prior, chips = prior_of(training.network), _training_chips(training, recipe, "prior")
        learn_label_space(prior, chips, labels, settings.batch_size, training.messages)
        stage = PriorStage(training.network, training.standardise, recipe, labels=labels)
        _fit(training, stage, name="prior")
    return _trial(training, "prior").of_prior(fits=settings.prior is None)


def _trial(training: _Run, stage: str) -> PriorTrial:
    """Scores on the validation scenes after a stage, or on training scenes if there are none."""
    settings, scenes = training.settings, training.data
    return PriorTrial(
        training.network.to("cpu").eval(),
        training.standardise.to("cpu"),
        _validation_chips(scenes.validation or scenes.training, settings),
        scenes.labels,
        settings.batch_size,
        training.messages,
        training.folder.path / stage if training.processes.is_first else None,
    )


def _recipe(settings: TrainSettings, *, prior: bool = False) -> Recipe:
    rate = settings.prior_rate if prior else settings.rate
    if settings.start is not None:
        rate *= FINE_TUNING_RATE
    return Recipe(
        steps=settings.stage_steps[0 if prior else 1],
        learning_rate=rate,
        encoder_rate=rate * (0.1 if settings.has_start else 1.0),
        betas=(0.9, 0.95) if prior else (0.9, 0.999),
        keeps_statistics=settings.start is not None,
        vary_features=0.0 if prior else settings.vary_features,
        seed=settings.seed + (not prior),
    )


def _fit(training: _Run, stage: Stage, *, name: str) -> int:
    """Run a stage; the step whose weights the network has."""
    settings, data = training.settings, training.data
    chips = _training_chips(training, stage.recipe, name)
    validation, messages = training.validation, training.messages
    pace = Pace()

    def show(step: int, scores: Mapping[str, Scores]) -> None:
        training.show(training.state(name, step, scores, pace.at(step)))

    with kept_features(
        settings,
        data,
        training.network,
        training.standardise,
        chips,
        validation,
        messages,
        precision=training.precision,
    ) as (seen, held_out):
        step = fit(
            stage,
            seen,
            held_out,
            data.legend,
            name=name,
            options=training.options(show),
            messages=messages,
        )
    if validation is not None:
        messages.note(f"the {name} is taken from step {step}, the best on the validation scenes")
    return step


def _training_chips(training: _Run, recipe: Recipe, name: str) -> TrainingChips:
    """The chips of a stage."""
    settings, data = training.settings, training.data
    return TrainingChips(
        data.training,
        size=settings.chip_size,
        count=recipe.steps * settings.batch_size,
        seed=settings.seed + (name == "segmentation"),
        augmentation=Augmentation(
            scale=(settings.min_scale, settings.max_scale),
            optional_bands=tuple(range(-len(settings.optional_bands), 0)),
        ),
        places=data.places if settings.sampling == "classes" else None,
        pools=data.pools,
    )


def _validation_chips(scenes: Sequence[LabelledScene], settings: TrainSettings) -> ValidationChips:
    return ValidationChips(scenes, size=2 * settings.chip_size)
