"""`hyseg train --dry-run`: what would be trained, on what, and the resources needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from hyseg_cli.learn.data.chips import ValidationChips
from hyseg_cli.learn.inference.predictor import choose_device
from hyseg_cli.messages import Messages, format_duration
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
    step_seconds: tuple[float, float]
    """Approximate time of a step of each stage on this machine; 0 for a stage that is left out."""
    chip_seconds: float
    """Approximate time of the backbone for a chip whose features are kept; 0 if none are."""

    def to_text(self) -> str:
        """The plan as lines."""
        first, second = _steps(self.settings, self.network)
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
            f"stage 2            {second} steps",
            f"each step          {batch} chips of {size} x {size} pixels",
            *([f"features kept      {self.room}"] if self.room else []),
            f"memory             about {self.memory_bytes / 2**30:.1f} GiB",
            f"time               about {self._time_text((first, second))}, without validations",
        ]
        return "\n".join(lines)

    def _time_text(self, steps: tuple[int, int]) -> str:
        costs = [count * each for count, each in zip(steps, self.step_seconds, strict=True)]
        if self.room is not None:
            # those to validate have twice the side
            costs.append((self.room.chips + 4 * self.room.validation) * self.chip_seconds)
        paces = ", ".join(f"{each:.2g} s" for each in self.step_seconds if each)
        return f"{format_duration(sum(costs))} ({paces} for a step)"


def plan(settings: TrainSettings, messages: Messages) -> Plan:
    """Open everything that a training needs, and stop before it starts; errors as in `run`."""
    require_free(settings.out, overwrite=settings.overwrite)
    scenes = open_training_scenes(settings, messages)
    network = start_network(settings, scenes, messages).network
    chips = ValidationChips(scenes.validation, size=2 * settings.chip_size)
    room = room_for(settings, network, len(chips))
    memory = estimate_memory(network, settings)
    chip = 0.0 if room is None else measure_backbone(network, settings)
    steps = measure_steps(network, settings, are_kept=room is not None)
    return Plan(settings, scenes, network, room, memory, steps, chip)


def _steps(settings: TrainSettings, network: HySeg) -> tuple[int, int]:
    """Steps of both stages that are really trained."""
    first, second = settings.stage_steps
    is_learned = network.prior is not None and settings.prior is None
    return first if is_learned else 0, 0 if settings.stage == "prior" else second


def measure_backbone(network: HySeg, settings: TrainSettings) -> float:
    """Seconds that the backbone takes for a chip, from a pass with a blank one."""
    device = choose_device(settings.device)
    side = settings.chip_size
    image = torch.zeros(1, network.config.bands, side, side, device=device)
    network.to(device).eval()
    return _seconds(lambda: _seen(network, image), device)


@torch.no_grad()
def _seen(network: HySeg, image: torch.Tensor) -> list[torch.Tensor]:
    found: list[torch.Tensor] = network.backbone(image)
    return found


def measure_steps(
    network: HySeg, settings: TrainSettings, *, are_kept: bool = False
) -> tuple[float, float]:
    """Seconds of a step of each stage, from passes with blank chips; 0 for one that is left out.

    On a processor one chip stands for all of a batch, whose time grows with their number. With
    `are_kept` the features of the chips are there before.
    """
    device = choose_device(settings.device)
    count = settings.batch_size if device.type == "cuda" else 1
    side = settings.chip_size
    image = torch.zeros(count, network.config.bands, side, side, device=device)
    valid = torch.ones(count, 1, side, side, dtype=torch.bool, device=device)
    labels = torch.zeros(count, side, side, dtype=torch.long, device=device)
    network.to(device).train()
    features = _seen(network, image) if are_kept else None

    def of_prior() -> torch.Tensor:
        return network.prior_objective(image, valid, labels, features=features).loss

    def of_segmentation() -> torch.Tensor:
        output = network(image, valid, labels=labels, features=features)
        return segmentation_loss(output, labels)

    first, second = _steps(settings, network)
    share, spent = settings.batch_size / count / settings.devices, [0.0, 0.0]
    if first and network.prior is not None:
        # It rests in the second stage.
        network.prior.requires_grad_(requires_grad=True)
        spent[0] = _seconds(lambda: torch.autograd.backward(of_prior()), device) * share
        network.prior.requires_grad_(requires_grad=False)
    if second:
        spent[1] = _seconds(lambda: torch.autograd.backward(of_segmentation()), device) * share
    return spent[0], spent[1]


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of a pass, after one that is not measured."""
    for _ in range(2):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return time.perf_counter() - began


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
