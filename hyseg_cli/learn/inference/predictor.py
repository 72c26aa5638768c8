"""Predictor: a batch of windows -> class probabilities.

Also chooses the device of a workflow.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.learn.inference.augmentation import View
from hyseg_cli.learn.inference.precision import Precision
from hyseg_cli.learn.inference.side_by_side import SideBySide, tiles_side_by_side
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.applicability import looks_of
from hyseg_cli.learn.model.weights import Model
from hyseg_models import HySeg
from hyseg_models.blocks.folding import fold_batch_norms
from hyseg_models.blocks.vit import halve_mlps


def choose_device(name: str) -> torch.device:
    """The device called `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageProblemError: If it is not one of these, or not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageProblemError(
            f"`device` {name} is not a device", hint="Use auto, cpu, cuda or cuda:N."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageProblemError(
            f"`device` {name}: this machine has {torch.cuda.device_count()} CUDA devices",
            hint="Use `device` cpu, or install a CUDA build of PyTorch.",
        )
    if device.type not in ("cpu", "cuda"):
        raise UsageProblemError(
            f"`device` {name} is not supported", hint="Use auto, cpu, cuda or cuda:N."
        )
    return device


def tiles_at_once(device: torch.device, most: int) -> int:
    """How many tiles run through the network at once: on a GPU at most this many, as a batch.

    On a CPU as many as its threads can share, each by itself: a batch would be no faster.
    """
    return tiles_side_by_side() if device.type == "cpu" else most


PROBE_SIDE = 64
"""Side of the image by which a folded backbone is compared with the original."""


def mapping_copy(network: HySeg, device: torch.device, precision: Precision) -> HySeg:
    """A copy of a network that maps faster; it cannot learn and is not to be saved.

    Batch norms are folded into convolutions. With bfloat16 on a CPU, where the tokens of a plain
    ViT stay in single precision, its MLPs run in bfloat16.
    """
    copied = deepcopy(network).eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, network.config.bands, PROBE_SIDE, PROBE_SIDE, generator=generator)
    fold_batch_norms(copied, image)
    if precision == "bfloat16" and device.type == "cpu":
        halve_mlps(copied)
    moved: HySeg = copied.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


MANY = 2**16
"""More tiles than any batch has."""


class Predictor:
    """Runs a model on windows of scenes.

    Args:
        model: The network and its card.
        device: Where it runs.
        precision: Format in which it runs, by autocast; None for bfloat16 on CUDA and float32 on
            the CPU. Class scores and probabilities are in float32 always.
        seed: Seed of the prior's noise field.
        noise: Policy of the noise field (`SampleConfig.noise`); None for the model's own.
        views: Views of each window; their probabilities are averaged.
        compiled: Whether the network is compiled when it first runs, for windows of one size.
    """

    def __init__(
        self,
        model: Model,
        device: torch.device,
        *,
        seed: int = 0,
        noise: str | None = None,
        views: tuple[View, ...] = (View(),),
        compiled: bool = False,
        precision: Precision | None = None,
    ) -> None:
        self.device = device
        self.precision = precision or ("bfloat16" if device.type == "cuda" else "float32")
        # Whoever has the model may use its network otherwise: it stays as it is.
        self.network = network = mapping_copy(model.network, device, self.precision)
        sample = replace(network.config.sample, seed=seed)
        if noise is not None:
            sample = replace(sample, noise=noise)
        network.config = replace(network.config, sample=sample)
        self._forward = torch.compile(self.network, dynamic=False) if compiled else self.network
        self._compiled = compiled
        self._full = 0
        """Tiles of the largest batch of a compiled network."""
        self.standardise = Standardise(model.card.radiometry).to(device)
        self.views = views
        self.classes = len(model.card.legend)
        self._at_once = 1 if compiled and device.type == "cpu" else tiles_at_once(device, MANY)
        self._side_by_side = SideBySide(self._run, self._at_once)
        self.temperature = model.card.temperature
        self.applicability = model.applicability

    def __call__(self, image: Tensor, valid: Tensor, origin: Tensor) -> Tensor:
        """Class probabilities of some windows.

        Args:
            image: (B, bands, H, W) in the scene's values.
            valid: bool (B, 1, H, W).
            origin: int64 (B, 2), row and column of each window on the noise grid.

        Returns:
            float32 (B, N, H, W) on the device, summing to one over N.

        Raises:
            HysegError: If a single window does not fit into the device's memory (a batch that
                does not is run in parts), or the network cannot be compiled.
        """
        done, start = [], 0
        while start < len(image):
            part = slice(start, start + self._at_once)
            batch = image[part], valid[part], origin[part]
            try:
                done.extend(self._run_batch(*batch))
            except torch.OutOfMemoryError as error:
                self._back_off(len(image[part]), error)
            else:
                start = part.stop
        return torch.cat(done)

    def looks(self, image: Tensor, valid: Tensor) -> Tensor:
        """What the backbone sees in windows as a whole (B, C), on the CPU (`applicability`).

        Args:
            image: (B, bands, H, W) in the scene's values, H and W multiples of 32.
            valid: bool (B, 1, H, W).
        """
        with torch.inference_mode():
            standard = self.standardise(self._moved(image), self._moved(valid))
            features = self.network.backbone(standard)
        return looks_of(self.network, features)

    def _run_batch(self, image: Tensor, valid: Tensor, origin: Tensor) -> list[Tensor]:
        if self._compiled:
            return [self._run_filled(image, valid, origin)]
        if self.device.type != "cpu":
            return [self._run(image, valid, origin)]
        parts = zip(*(torch.split(values, 1) for values in (image, valid, origin)), strict=True)
        return self._side_by_side(list(parts))

    def _run_filled(self, image: Tensor, valid: Tensor, origin: Tensor) -> Tensor:
        """Run a batch filled up to the largest so far: the network is compiled for each size."""
        from torch._dynamo.exc import TorchDynamoException

        count = len(image)
        self._full = min(max(self._full, count), self._at_once)
        index = torch.arange(self._full).clamp(max=count - 1)
        try:
            return self._run(image[index], valid[index], origin[index])[:count]
        except TorchDynamoException as error:
            raise HysegError(
                f"the network cannot be compiled ({str(error).strip().splitlines()[0]})",
                hint="Leave out `compiled`; it needs a C++ compiler, or Triton on a GPU.",
            ) from error

    def _run(self, image: Tensor, valid: Tensor, origin: Tensor) -> Tensor:
        image, valid, origin = (self._moved(x) for x in (image, valid, origin))
        is_half = self.precision == "bfloat16"
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=is_half)
        with torch.inference_mode(), autocast:
            standard = self.standardise(image, valid)
            seen = [self._look(standard, valid, origin, view) for view in self.views]
            return seen[0] if len(seen) == 1 else torch.stack(seen).mean(dim=0)

    def _moved(self, values: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return values.to(self.device)
        # From pinned memory, the copy overlaps with the GPU's computation.
        return values.pin_memory().to(self.device, non_blocking=True)

    def _look(self, standard: Tensor, valid: Tensor, origin: Tensor, view: View) -> Tensor:
        turned_image, turned_valid, moved = view.of(standard, valid, origin)
        logits = self._forward(
            turned_image.contiguous(memory_format=torch.channels_last),
            turned_valid,
            moved,
            symmetry=view.symmetry,
        ).logits
        probabilities = (logits.float() / self.temperature).softmax(dim=1)
        return view.undo(probabilities, (standard.shape[-2], standard.shape[-1]))

    def _back_off(self, tiles: int, error: Exception) -> None:
        """Halve the number of tiles per run from now on."""
        if tiles == 1:
            raise HysegError(
                f"one tile does not fit into the memory of {self.device}",
                hint="Use a smaller `tile_size`, or `device` cpu.",
            ) from error
        self._at_once = tiles // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
