"""Is the prior any good? Measured once after stage 1, on some validation chips."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from hyseg_cli.learn.data.chips import Sample
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.scores.metrics import ConfusionMatrix
from hyseg_cli.learn.training.stages import as_bytes, pooled_labels, prior_of
from hyseg_models import HySeg
from hyseg_models.prior.condition import Condition
from hyseg_models.prior.diagnostics import reliability
from hyseg_models.prior.labels import decode

SEEDS = 4
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
    """Standard deviation of the class probabilities over seeds; 0 is no variety, more is noise."""
    calibration_error: float
    """Mean distance between confidence and accuracy of the decoded probabilities."""

    def warnings(self) -> list[str]:
        """What should be known before stage 2 is paid for."""
        found = []
        if self.miou_one_step < 0.8 * self.miou_mean:
            found.append(
                f"one step of the prior reaches mIoU {self.miou_one_step:.3f}, its mean "
                f"{self.miou_mean:.3f}: the average velocity is not learned yet; train the prior "
                "longer (--prior-steps)"
            )
        if self.miou_wrong_image > 0.8 * self.miou_one_step:
            found.append(
                f"with the images exchanged the prior reaches mIoU {self.miou_wrong_image:.3f} "
                f"instead of {self.miou_one_step:.3f}: it hardly looks at the image"
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
    policies = {
        "one_step": replace(sampling, noise="position", nfe=1),
        "mean": replace(sampling, noise="mean"),
        "eight_steps": replace(sampling, noise="position", nfe=MANY_STEPS),
    }
    matrices = {name: ConfusionMatrix(prior.classes) for name in (*policies, "wrong_image")}
    curve, spreads = None, []
    for batch in batches:
        reference = pooled_labels(prior, batch["labels"])
        image = standardise(batch["image"], batch["valid"])
        condition = network.condition(image, batch["valid"])
        origin = batch["origin"]
        drawn = {name: prior.draw(condition, origin, policy) for name, policy in policies.items()}
        drawn["wrong_image"] = prior.draw(_exchanged(condition), origin, policies["one_step"])
        for name, embedded in drawn.items():
            winner = prior.labels.shares(embedded).argmax(dim=1)
            matrices[name].update(as_bytes(reference), as_bytes(winner))
        probabilities = [decode(prior.labels, drawn["one_step"], network.temperature)]
        for seed in range(1, SEEDS):
            other = prior.draw(condition, origin, replace(policies["one_step"], seed=seed))
            probabilities.append(decode(prior.labels, other, network.temperature))
        spreads.append(torch.stack(probabilities).std(dim=0).mean())
        counted = reliability(probabilities[0], reference)
        curve = counted if curve is None else curve + counted
    return PriorDiagnostics(
        **{f"miou_{name}": matrix.scores().mean_iou for name, matrix in matrices.items()},
        spread=_mean(spreads),
        calibration_error=float("nan") if curve is None else curve.calibration_error(),
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
