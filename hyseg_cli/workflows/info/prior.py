"""`hyseg info MODEL --images`: what a model's prior knows, and what the network makes of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Subset

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.learn.data.chips import Sample, ValidationChips
from hyseg_cli.learn.data.labelled_scene import open_pairs
from hyseg_cli.learn.data.pairs import find_pairs
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.weights import load_model
from hyseg_cli.learn.training.batches import validation_loader
from hyseg_cli.learn.training.prior_diagnostics import (
    PriorDiagnostics,
    PriorUse,
    diagnose_prior,
    measure_prior_use,
)
from hyseg_cli.messages import Messages
from hyseg_models import IGNORE_ID

CHIP = 512
"""Side in pixels of the chips that are measured on."""
CHIPS = 18
"""How many there are at most, from all over the images."""

_COLUMNS = {
    "neighbours": "neighbours",
    "neighbours_box": "of a box",
    "purity": "purity",
    "purity_box": "of a box",
    "purity_labels": "of labels",
    "message": "message",
    "message_of_prior": "by prior",
    "attention": "attention",
}
"""Fields of a `LevelReading`, and what they are called in the table."""


@dataclass(frozen=True)
class PriorFindings:
    """What was measured of the prior of a model."""

    knows: PriorDiagnostics | None
    """None for a prior that is not generative."""
    use: PriorUse
    chips: int
    """Chips of 512 pixels that were measured on."""

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        known = {} if self.knows is None else self.knows.to_dict()
        return {"chips": self.chips, "knows": known, "use": self.use.to_dict()}

    def to_text(self) -> str:
        """A few lines, and a table of the levels."""
        use = self.use
        lines = [
            f"the prior, on {self.chips} chips",
            (
                f"  mean IoU of the map {_points(use.miou)}; with another image's prior "
                f"{_points(use.miou_other_prior)}, with a flat one {_points(use.miou_flat_prior)}"
            ),
            f"  prior use {100 * use.use:+.2f} points of mean IoU",
        ]
        return "\n".join([*lines, *self._knowledge_lines(), *self._level_lines()])

    def _knowledge_lines(self) -> list[str]:
        known = self.knows
        if known is None:
            return []
        return [
            (
                f"  mean IoU of the prior: a sample {_points(known.miou_one_step)}, in eight steps "
                f"{_points(known.miou_eight_steps)}, mean of eight samples "
                f"{_points(known.miou_mean_of_draws)}, posterior mean {_points(known.miou_mean)}, "
                f"wrong image {_points(known.miou_wrong_image)}"
            ),
            (
                f"  variance over the noise: {known.noise_variance:.4f} at (0, 1), "
                f"{known.noise_variance_of_mean:.4f} at (1, 1)"
            ),
        ]

    def _level_lines(self) -> list[str]:
        if not self.use.levels:
            return []
        rows = ["  stride" + "".join(head.rjust(11) for head in _COLUMNS.values())]
        for level in self.use.levels:
            values = asdict(level)
            cells = (f"{values[name]:.3g}".rjust(11) for name in _COLUMNS)
            rows.append(f"  {level.stride:<6}" + "".join(cells))
        return rows


def _points(share: float) -> str:
    return f"{100.0 * share:.2f}"


def measure_prior(path: Path, images: Path, labels: Path, messages: Messages) -> PriorFindings:
    """Measure the prior of a model on labelled images, in the model's own legend.

    Raises:
        UsageProblemError: If the model has no prior, or nothing is labelled.
        HysegError: One of its kinds, if a file cannot be read or does not fit.
    """
    model = load_model(path)
    network = model.network
    if network.pyramid is None:
        raise UsageProblemError(
            f"{path.name} has no prior", hint="Leave out `images` and `labels`."
        )
    scenes = open_pairs(find_pairs(images, labels), model.card.legend)
    some = _some(ValidationChips(scenes, size=CHIP))
    if not some:
        raise UsageProblemError(f"{labels}: nothing is labelled", hint="Check the labels.")
    messages.note(f"measuring the prior on {len(some)} chips of {CHIP} pixels")
    standardise = Standardise(model.card.radiometry)
    knows = None if network.prior is None else diagnose_prior(network, standardise, some)
    use = measure_prior_use(network, standardise, some)
    for warning in [*(knows.warnings() if knows else ()), *use.warnings()]:
        messages.warn(warning)
    return PriorFindings(knows, use, len(some))


def _some(chips: ValidationChips) -> list[Sample]:
    """Chips with labels, one to a batch, from all over the scenes."""
    order = np.random.default_rng(0).permutation(len(chips)).tolist()
    labelled = [i for i in order if (chips[i]["labels"] != IGNORE_ID).any()]
    return list(validation_loader(Subset(chips, sorted(labelled[:CHIPS])), 1))
