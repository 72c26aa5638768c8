"""`hyseg train --dry-run`: what would be trained, on what, and the resources needed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hyseg_cli.learn.data.chips import ValidationChips
from hyseg_cli.messages import Messages
from hyseg_cli.settings.train import TrainSettings
from hyseg_cli.workflows.outputs import require_free
from hyseg_cli.workflows.train.features import Room, room_for
from hyseg_cli.workflows.train.network import start_network
from hyseg_cli.workflows.train.scenes import TrainingScenes, open_training_scenes
from hyseg_models import HySeg, segmentation_loss

BYTES_PER_PARAMETER = 20
"""Weight, gradient, two moments of Adam and the average, four bytes each."""

GRADIENTS = 2.0
"""Memory for the backward pass, and about as much again for gradients and work space."""

PROBE_PX = 64


@dataclass(frozen=True)
class Plan:
    """What a training would do."""

    settings: TrainSettings
    scenes: TrainingScenes
    network: HySeg
    room: Room | None
    """What is kept of a frozen backbone's features."""
    memory_bytes: int
    """Approximate memory of the second stage, besides libraries and chips."""

    def to_text(self) -> str:
        """The plan as lines."""
        first, second = self.settings.stage_steps
        if self.network.prior is None:
            first = 0
        size, batch = self.settings.chip_size, self.settings.batch_size
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        entries = zip(self.scenes.legend.names, self.scenes.survey.shares, strict=True)
        lines = [
            f"training scenes    {', '.join(self.scenes.training_names)}",
            f"validation scenes  {', '.join(self.scenes.validation_names) or 'none'}",
            f"bands              {self.network.config.bands} of {self.scenes.training[0].dtype}",
            *(f"class {name:<20} {share:7.2%} of the labelled pixels" for name, share in entries),
            f"network            {parameters / 1e6:.1f} M parameters",
            f"stage 1            {first} steps",
            f"stage 2            {0 if self.settings.stage == 'prior' else second} steps",
            f"each step          {batch} chips of {size} x {size} pixels",
            *([f"features kept      {self.room}"] if self.room else []),
            f"memory             about {self.memory_bytes / 2**30:.1f} GiB",
        ]
        return "\n".join(lines)


def plan(settings: TrainSettings, messages: Messages) -> Plan:
    """Open everything that a training needs, and stop before it starts; errors as in `run`."""
    require_free(settings.out, overwrite=settings.overwrite)
    scenes = open_training_scenes(settings, messages)
    network = start_network(settings, scenes, messages).network
    chips = ValidationChips(scenes.validation, size=2 * settings.chip_size)
    room = room_for(settings, network, len(chips))
    return Plan(settings, scenes, network, room, estimate_memory(network, settings))


def estimate_memory(network: HySeg, settings: TrainSettings) -> int:
    """Bytes of the weights and of what one step keeps for its backward pass.

    Measured on one small chip; it grows with the pixels.
    """
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    image = torch.zeros(2, network.config.bands, PROBE_PX, PROBE_PX)
    valid = torch.ones(2, 1, PROBE_PX, PROBE_PX, dtype=torch.bool)
    labels = torch.zeros(2, PROBE_PX, PROBE_PX, dtype=torch.long)
    network.train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        segmentation_loss(network(image, valid, labels=labels), labels)
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    per_chip = sum(size for place, size in kept.items() if place not in weights) / 2
    chips = settings.batch_size * (settings.chip_size / PROBE_PX) ** 2
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return int(parameters * BYTES_PER_PARAMETER + GRADIENTS * per_chip * chips)
