"""The prior in a training: the space it is learned in, what it knows, what it is used for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from hyseg_cli.learn.data.chips import Sample, TrainingChips, ValidationChips
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.sources.label_sets import LabelSets
from hyseg_cli.learn.training.batches import require_batch, training_loader, validation_loader
from hyseg_cli.learn.training.fit import add_row
from hyseg_cli.learn.training.prior_diagnostics import diagnose_prior, measure_prior_use
from hyseg_cli.learn.training.stages import fit_temperature
from hyseg_cli.messages import Messages
from hyseg_models import HySeg
from hyseg_models.prior.autoencoder import MEASURED, LearnedLabels
from hyseg_models.prior.labels import definite, pooled_shares
from hyseg_models.prior.meanstruct import MeanStruct

DIAGNOSED_BATCHES = 8
"""Batches of validation chips on which the prior's temperature is fitted and its worth measured."""
USED_BATCHES = 4
"""Batches of them on which its use is measured, each with three priors."""
SPACE_STEPS = 300
"""Batches that a learned label space learns from."""


def learn_label_space(
    prior: MeanStruct, chips: TrainingChips, labels: LabelSets, batch_size: int, messages: Messages
) -> None:
    """Train the autoencoder of a prior that has one; nothing if it has learned before.

    Each process of a training learns the same for itself.

    Args:
        prior: On the CPU.
        chips: As many as wanted are drawn anew from them.
        labels: What their labels stand for.
        batch_size: Chips of each step.
        messages: Where the result goes.
    """
    space = prior.labels
    if not isinstance(space, LearnedLabels) or space.is_fitted:
        return
    others = chips.reseeded(chips.seed, (SPACE_STEPS + MEASURED) * batch_size)
    found = space.fit(_shares(others, labels, space, batch_size), SPACE_STEPS)
    messages.note(f"label space: {space.channels} channels, {found:.3f} nats lost of a cell")


def _shares(
    chips: TrainingChips, labels: LabelSets, space: LearnedLabels, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Class shares of the cells of each batch, and the weights of the cells."""
    allowed = None if labels.is_plain else torch.from_numpy(labels.table())
    for batch in training_loader(chips, batch_size, workers=0):
        known = require_batch(batch)["labels"]
        yield pooled_shares(known, space.classes, space.stride, allowed)


@dataclass(frozen=True)
class PriorTrial:
    """A network at rest, and what it is measured on."""

    network: HySeg
    """In evaluation mode, on the CPU."""
    standardise: Standardise
    chips: ValidationChips
    labels: LabelSets
    """What their labels stand for."""
    batch_size: int
    messages: Messages
    folder: Path | None
    """Of the stage whose table gets a row; None in the processes beside the first."""

    def of_prior(self, *, fits: bool) -> dict[str, float]:
        """What the prior knows; `fits` sets its temperature before."""
        some = self._some_chips()
        if not some:
            self.messages.warn("no validation pixel is labelled: the prior is not measured")
            return {}
        if fits:
            self.network.temperature.fill_(fit_temperature(self.network, self.standardise, some))
        found = diagnose_prior(self.network, self.standardise, some)
        self.messages.note(
            "prior: " + ", ".join(f"{name} {value:.3f}" for name, value in found.to_dict().items())
        )
        self._conclude(found.warnings(), found.to_dict())
        return found.to_dict()

    def of_use(self) -> dict[str, Any]:
        """What the network makes of its prior, for the card; nothing without a prior or labels."""
        some = [] if self.network.pyramid is None else self._some_chips()[:USED_BATCHES]
        if not some:
            return {}
        found = measure_prior_use(self.network, self.standardise, some)
        self.messages.note(
            f"prior use: mIoU {found.miou:.3f}, with another image's prior "
            f"{found.miou_other_prior:.3f}, with one that knows nothing {found.miou_flat_prior:.3f}"
        )
        self._conclude(found.warnings(), found.to_row())
        return {"prior_use": found.to_dict()}

    def _conclude(self, warnings: list[str], row: dict[str, float]) -> None:
        for warning in warnings:
            self.messages.warn(warning)
        if self.folder is not None:
            add_row(self.folder, row)

    def _some_chips(self) -> list[Sample]:
        """Some batches from all over the scenes, of chips with labels of a single class."""
        loader = validation_loader(self.chips, self.batch_size)
        wanted = DIAGNOSED_BATCHES * (loader.batch_size or 1)
        order = np.random.default_rng(0).permutation(len(self.chips)).tolist()
        labelled = (i for i in order if (self.chips[i]["labels"] < self.labels.classes).any())
        chosen = Subset(self.chips, list(islice(labelled, wanted)))
        allowed = torch.from_numpy(self.labels.table())
        return [
            batch | {"labels": definite(batch["labels"], allowed)}
            for batch in validation_loader(chosen, self.batch_size)
        ]
