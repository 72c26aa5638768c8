"""Is the prior any good, and is it used? Measured after each stage, on some validation chips."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hyseg_cli.learn.data.chips import Sample
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.scores.metrics import ConfusionMatrix
from hyseg_cli.learn.training.features import features_of
from hyseg_cli.learn.training.stages import as_bytes, pooled_labels, prior_of
from hyseg_models import IGNORE_ID, HySeg
from hyseg_models.hyseg import SIZE_MULTIPLE, of_another_image
from hyseg_models.influence import LevelReading, listening, read_level
from hyseg_models.prior.condition import Condition
from hyseg_models.prior.diagnostics import noise_variance, reliability
from hyseg_models.prior.labels import decode

DEAD = 0.005
"""A prior whose use is below half a point of mean IoU is a dead input."""
SEEDS = 8
"""Samples of each image."""
MANY_STEPS = 8


@dataclass(frozen=True)
class PriorDiagnostics:
    """What the prior knows, on the grid it lives on."""

    miou_one_step: float
    """Of one sample in one step, the way it is used."""
    miou_mean: float
    """Of the posterior mean: what a plain regression would reach."""
    miou_eight_steps: float
    """Of one sample in eight steps; far above one step, the average velocity is not learned."""
    miou_wrong_image: float
    """With the images of the batch exchanged; near the others, the condition is not used."""
    spread: float
    """Standard deviation of the class probabilities over seeds; 0 means no variety."""
    calibration_error: float
    """Mean distance between confidence and accuracy of the decoded probabilities."""
    miou_mean_of_draws: float = math.nan
    """Of the mean of eight samples; far above one, a sample is mostly noise to what reads it."""
    noise_variance: float = math.nan
    """Variance of samples over seeds, where hard labels have a mean square of 1."""
    noise_variance_of_mean: float = math.nan
    """The same of the posterior mean, which should be 0."""

    def warnings(self) -> list[str]:
        """What should be known before stage 2 is paid for."""
        found = []
        if self.miou_one_step < 0.8 * self.miou_mean:
            found.append(
                f"one step of the prior reaches mIoU {self.miou_one_step:.3f}, its mean "
                f"{self.miou_mean:.3f}: the average velocity is not learned yet; train the prior "
                "longer (`prior_steps`)"
            )
        if self.miou_wrong_image > 0.8 * self.miou_one_step:
            found.append(
                f"with the images exchanged the prior reaches mIoU {self.miou_wrong_image:.3f} "
                f"instead of {self.miou_one_step:.3f}: it hardly looks at the image"
            )
        if self.noise_variance_of_mean > max(1e-3, 0.1 * self.noise_variance):
            found.append(
                f"the mean of the prior varies with the noise by "
                f"{self.noise_variance_of_mean:.3f}, a sample by {self.noise_variance:.3f}: "
                "it is not a true mean (prior.net.noise_gate)"
            )
        return found

    def to_dict(self) -> dict[str, float]:
        """The numbers, for the model card."""
        return asdict(self)


@torch.inference_mode()
def diagnose_prior(
    network: HySeg, standardise: Standardise, batches: Iterable[Sample]
) -> PriorDiagnostics:
    """Measure the prior of a network in evaluation mode."""
    prior = prior_of(network)
    sampling = network.config.sample
    one_step = replace(sampling, noise="position", nfe=1)
    others = {
        "mean": replace(sampling, noise="mean"),
        "eight_steps": replace(one_step, nfe=MANY_STEPS),
    }
    names = ("one_step", *others, "mean_of_draws", "wrong_image")
    matrices = {name: ConfusionMatrix(prior.classes) for name in names}
    curve, spreads, variances, variances_of_mean = None, [], [], []
    for batch in batches:
        reference = pooled_labels(prior, batch["labels"])
        image = standardise(batch["image"], batch["valid"], batch.get("has_band"))
        condition = network.condition(image, batch["valid"], features_of(batch))
        draw = partial(prior.draw, condition, batch["origin"])
        draws = torch.stack([draw(replace(one_step, seed=seed)) for seed in range(SEEDS)])
        drawn = {name: draw(policy) for name, policy in others.items()}
        drawn |= {"one_step": draws[0], "mean_of_draws": draws.mean(dim=0)}
        drawn["wrong_image"] = prior.draw(_exchanged(condition), batch["origin"], one_step)
        for name, embedded in drawn.items():
            winner = prior.labels.shares(embedded).argmax(dim=1)
            matrices[name].update(as_bytes(reference), as_bytes(winner))
        means = torch.stack([drawn["mean"], draw(replace(others["mean"], seed=1))])
        variances.append(noise_variance(draws) / prior.config.beta**2)
        variances_of_mean.append(noise_variance(means) / prior.config.beta**2)
        probabilities = [decode(prior.labels, x, network.temperature) for x in draws]
        spreads.append(torch.stack(probabilities).std(dim=0).mean())
        counted = reliability(probabilities[0], reference)
        curve = counted if curve is None else curve + counted
    return PriorDiagnostics(
        **{f"miou_{name}": matrix.scores().mean_iou for name, matrix in matrices.items()},
        spread=_mean(spreads),
        calibration_error=float("nan") if curve is None else curve.calibration_error(),
        noise_variance=_mean(variances),
        noise_variance_of_mean=_mean(variances_of_mean),
    )


def _exchanged(condition: Condition) -> Condition:
    """The condition of the next image of the batch, or of the same upside down if it is alone."""
    batch = len(condition.valid)
    if batch > 1:
        return condition.rows(torch.arange(batch).roll(1))
    return replace(
        condition,
        fused=condition.fused.flip(-1, -2),
        valid=condition.valid.flip(-1, -2),
        levels={stride: level.flip(-1, -2) for stride, level in condition.levels.items()},
    )


def _mean(values: list[Tensor]) -> float:
    return float(torch.stack(values).mean()) if values else float("nan")


@dataclass(frozen=True)
class PriorUse:
    """What a network makes of its prior."""

    miou: float
    """Mean IoU of the class maps, with the network's own prior."""
    miou_other_prior: float
    """With the prior of another image and the same weights."""
    miou_flat_prior: float
    """With a prior that knows nothing: all classes alike everywhere."""
    levels: tuple[LevelReading, ...]
    """From fine to coarse; empty if no messages are passed along the prior's affinity."""

    @property
    def use(self) -> float:
        """Mean IoU with its own prior, minus that with another image's."""
        return self.miou - self.miou_other_prior

    def warnings(self) -> list[str]:
        """What should be known before the network is used."""
        if math.isnan(self.use) or self.use >= DEAD:
            return []
        text = (
            f"the prior is a dead input: with another image's, mean IoU is "
            f"{100 * self.miou_other_prior:.1f} instead of {100 * self.miou:.1f}; "
            "`preset` plain, or +plain after another one, costs less"
        )
        return [text]

    def to_dict(self) -> dict[str, Any]:
        """Everything, for the model card."""
        return {
            "use": self.use,
            "miou": self.miou,
            "miou_other_prior": self.miou_other_prior,
            "miou_flat_prior": self.miou_flat_prior,
            "levels": [
                {
                    name: None if math.isnan(value) else value
                    for name, value in asdict(level).items()
                }
                for level in self.levels
            ],
        }

    def to_row(self) -> dict[str, float]:
        """All numbers under one name each, for a table with a row for each run."""
        row = {
            "prior_use": self.use,
            "miou_other_prior": self.miou_other_prior,
            "miou_flat_prior": self.miou_flat_prior,
        }
        for level in self.levels:
            values = asdict(level)
            stride = values.pop("stride")
            row |= {f"{name}_{stride}": value for name, value in values.items()}
        return row


@torch.inference_mode()
def measure_prior_use(
    network: HySeg, standardise: Standardise, batches: Iterable[Sample]
) -> PriorUse:
    """Measure a network with a prior, in evaluation mode."""
    matrices = [ConfusionMatrix(network.config.classes) for _ in range(3)]
    readings: dict[int, list[LevelReading]] = defaultdict(list)
    for batch in batches:
        image = standardise(batch["image"], batch["valid"], batch.get("has_band"))
        labels = batch["labels"]
        arguments = (image, batch["valid"], batch["origin"], labels)
        with listening(network) as heard:
            own = network(*arguments)
        if own.prior is None:
            message = "a network without prior makes no use of one"
            raise TypeError(message)
        other = network(*arguments, prior=of_another_image(own.prior))
        flat = network(*arguments, prior=network.flat_prior(own.prior))
        for matrix, output in zip(matrices, (own, other, flat), strict=True):
            matrix.update(as_bytes(labels), as_bytes(output.logits.argmax(dim=1)))
        margin = (0, -labels.shape[-1] % SIZE_MULTIPLE, 0, -labels.shape[-2] % SIZE_MULTIPLE)
        padded = F.pad(labels, margin, value=IGNORE_ID)
        for block, features, guide in heard:
            if (reading := read_level(block, features, guide, padded)) is not None:
                readings[reading.stride].append(reading)
    scores = [matrix.scores().mean_iou for matrix in matrices]
    levels = tuple(_averaged(readings[stride]) for stride in sorted(readings))
    return PriorUse(scores[0], scores[1], scores[2], levels)


def _averaged(readings: list[LevelReading]) -> LevelReading:
    """The mean over batches, of each number over those that have it."""
    means: dict[str, Any] = {}
    for name in (field.name for field in fields(LevelReading) if field.name != "stride"):
        known = [x for reading in readings if not math.isnan(x := getattr(reading, name))]
        means[name] = fmean(known) if known else math.nan
    return replace(readings[0], **means)
