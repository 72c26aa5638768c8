"""Networks that correct the class scores of a frozen host, and priors that some of them learn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from crops import Crop
from frozen_host import STRIDE
from torch import Tensor, nn

from hyseg_models import IGNORE_ID
from hyseg_models.blocks.layers import upsample, zeroed
from hyseg_models.blocks.neighbourhood import aggregate, neighbour_distances
from hyseg_models.config.prior_config import ObjectiveConfig, TimeConfig
from hyseg_models.prior.autoencoder import LearnedLabels
from hyseg_models.prior.labels import pooled_shares
from hyseg_models.prior.meanflow import draw_times, meanflow_loss

KERNEL, STEPS = 7, 2
"""Neighbourhood, and how often messages are passed."""
CELL = 8
"""Pixels per cell of the messages."""
STRIDES = (8, 16)
"""Pixels per cell of the features that a correction sees."""
NOISE = 0.5
"""Standard deviation of what is added to the host's probabilities."""
MAJORITY = {"majority7": 7, "majority": 15, "majority31": 31}
"""Filters, by the side in pixels of the square whose commonest class each pixel gets."""
BROKEN = "+broken"
KINDS = (
    "labels", *MAJORITY, "rgb", "own", "learnt", "shared", "larger", "larger+broken", "evid",
    "evid+broken", "mean", "flow", "flow+broken", "blind+broken", "partitions", "partitions8", "ae",
)  # fmt: skip
"""Rows: an affinity of the labels, of nothing (majority filters), of colours, of the host's
probabilities, or learnt, with a gate for each class or one between 0 and 1 for all; the network of
a corrector alone, which adds to the scores as a larger host would; a corrector without noise, one
trained with noise that is used without, one with noise, and one that does not see the image; a
prior of random colourings, by one draw or the mean of eight affinities; one of embedded label maps.
What ends in `BROKEN` learns from labels broken on purpose as well."""
GENERATIVE = ("mean", "flow", "blind")


@dataclass(frozen=True)
class Drawn:
    """A prior whose draws give affinities and nothing else."""

    draws: int
    channels: int
    is_velocity: bool = False
    """Whether its network gives the average velocity, as in the paper, or the clean map."""
    scale: float = 1.0
    """Of what is compared: with many channels, all cells are far apart, no message passes, and
    nothing learns to let one pass."""


DRAWN = {
    "partitions": Drawn(1, 4),
    "partitions8": Drawn(8, 4),
    "ae": Drawn(1, 16, is_velocity=True, scale=0.25),
}  # fmt: skip


class Correction(nn.Module):
    """logits + up(gate (A^2 pooled - pooled)) + up(gate' evidence), A from what the kind compares.

    Both gates start at zero, one for each class, so the network starts as the host.

    Args:
        kind: One of `KINDS`.
        classes: Number of classes N.
        channels: Channels of the maps of a `Crop` at `STRIDES`.
    """

    def __init__(self, kind: str, classes: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.kind = kind = kind.removesuffix(BROKEN)
        self.log_sigma = nn.Parameter(torch.tensor(-1.0))
        self.classes = classes
        self.gate = nn.Parameter(torch.zeros(1 if kind == "shared" else classes))
        self.evidence_gate = nn.Parameter(torch.zeros(classes))
        self.lateral = nn.ModuleList(nn.Conv2d(c, 16, 1) for c in channels)
        told = classes + 3 + 16
        if kind in ("learnt", "shared"):
            self.embed: nn.Module = _embedding(told)
        if kind in DRAWN:
            size = DRAWN[kind].channels
            self.corrector = Corrector(told - classes + size, size)
        if kind == "ae":
            self.autoencoder = LearnedLabels(classes, DRAWN[kind].channels, CELL, beta=1.0)
        if kind == "larger":
            self.corrector = Corrector(told, classes)
            zeroed(self.corrector.out)
        if kind in ("evid", *GENERATIVE):
            self.embed = _embedding(2 * classes)
            noisy = classes * (kind in GENERATIVE)
            self.corrector = Corrector(told + noisy, classes)

    def forward(
        self, crop: Crop, noise: Tensor | None = None, prior: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Corrected scores (B, N, H/4, W/4), and the prior (B, C, H/8, W/8) if there is one."""
        pooled = F.avg_pool2d(crop.logits, CELL // STRIDE)
        probabilities = pooled.softmax(dim=1)
        size = (crop.logits.shape[-2], crop.logits.shape[-1])
        if self.kind == "larger":
            added = self.corrector(torch.cat([probabilities, self._features(crop)], dim=1))
            return crop.logits + upsample(added, size), None
        own = self._prior(crop, probabilities, noise)
        prior = own if prior is None else prior
        change = self.gate[:, None, None] * (self._passed(crop, pooled, prior) - pooled)
        if prior is not None and self.kind not in DRAWN:
            evidence = torch.log(prior.clamp(0.02, 1.0))
            centred = evidence - evidence.mean(dim=1, keepdim=True)
            change = change + self.evidence_gate[:, None, None] * centred
        return crop.logits + upsample(change, size), own

    def extra_loss(self, crop: Crop, progress: float) -> Tensor | float:
        """What the corrector learns beside the map."""
        shares, weight = pooled_shares(crop.labels, self.classes, CELL)
        probabilities = F.avg_pool2d(crop.logits, CELL // STRIDE).softmax(dim=1)
        if self.kind in DRAWN:
            return self._drawn_loss(crop, shares, weight, progress)
        if self.kind == "evid":
            own = self._prior(crop, probabilities, None)
            error = -(shares * own.clamp_min(1e-3).log()).sum(dim=1, keepdim=True)
            return (error * weight).sum() / weight.sum().clamp_min(1.0)
        if self.kind not in GENERATIVE:
            return 0.0
        return self._flow_loss(crop, probabilities, shares, weight, progress)

    def _flow_loss(
        self, crop: Crop, start: Tensor, shares: Tensor, weight: Tensor, progress: float
    ) -> Tensor:
        """MeanFlow from the host's map and noise (t = 1) to the true map (t = 0)."""
        told = torch.cat([start, self._features(crop)], dim=1)

        def velocity(x: Tensor, r: Tensor, t: Tensor, rows: Tensor) -> Tensor:
            seen = torch.cat([x * (1.0 - r).view(-1, 1, 1, 1), told[rows]], dim=1)
            clean: Tensor = self.corrector(seen, r, t)
            return (x - clean) / t.clamp_min(0.05).view(-1, 1, 1, 1)

        noisy = start + NOISE * torch.randn_like(start)
        objective, law = ObjectiveConfig(), TimeConfig(endpoint_quota=0.5)
        times = draw_times(len(start), law, objective=objective, progress=progress)
        return meanflow_loss(
            velocity, shares, weight, noisy, times, objective, scale=0.35, progress=progress
        ).loss

    def _drawn_loss(self, crop: Crop, shares: Tensor, weight: Tensor, progress: float) -> Tensor:
        """MeanFlow from noise to the label map, embedded or in random colours."""
        if self.kind == "ae":
            data = self.autoencoder.embed(shares)
        else:
            colours = torch.randn(len(shares), self.classes, DRAWN[self.kind].channels)
            data = torch.einsum("bnhw,bnc->bchw", shares, colours)
        told = self._features(crop)

        def velocity(x: Tensor, r: Tensor, t: Tensor, rows: Tensor) -> Tensor:
            return self._velocity(x, r, t, told[rows])

        objective, law = ObjectiveConfig(), TimeConfig(endpoint_quota=0.5)
        times = draw_times(len(data), law, objective=objective, progress=progress)
        noise = torch.randn_like(data)
        return meanflow_loss(
            velocity, data, weight, noise, times, objective, progress=progress
        ).loss

    def _velocity(self, x: Tensor, r: Tensor, t: Tensor, told: Tensor) -> Tensor:
        seen = torch.cat([x * (1.0 - r).view(-1, 1, 1, 1), told], dim=1)
        found: Tensor = self.corrector(seen, r, t)
        if DRAWN[self.kind].is_velocity:
            return found
        return (x - found) / t.clamp_min(0.05).view(-1, 1, 1, 1)

    def _drawn(self, crop: Crop, noise: Tensor | None) -> Tensor:
        """Draws in one step, one after the other along the channels; no gradient."""
        told, kind = self._features(crop), DRAWN[self.kind]
        size = (len(told), kind.draws * kind.channels, *told.shape[-2:])
        noise = torch.randn(size) if noise is None else noise
        zero, one = told.new_zeros(len(told)), told.new_ones(len(told))
        with torch.no_grad():
            draws = [
                part - self._velocity(part, zero, one, told)
                for part in noise.split(kind.channels, dim=1)
            ]
        return torch.cat(draws, dim=1)

    def _prior(self, crop: Crop, start: Tensor, noise: Tensor | None) -> Any:
        if self.kind in DRAWN:
            return self._drawn(crop, noise)
        if self.kind == "evid":
            told = torch.cat([start, self._features(crop)], dim=1)
            return self.corrector(told).softmax(dim=1)
        if self.kind not in GENERATIVE:
            return None
        noise = torch.randn_like(start) if noise is None else noise
        noisy = start + NOISE * noise * (self.kind != "mean")
        zero, one = start.new_zeros(len(start)), start.new_ones(len(start))
        return self.corrector(torch.cat([noisy, start, self._features(crop)], dim=1), zero, one)

    def _passed(self, crop: Crop, pooled: Tensor, prior: Tensor | None) -> Tensor:
        compared = self._compared(crop, pooled.softmax(dim=1), prior)
        parts = compared.chunk(DRAWN[self.kind].draws if self.kind in DRAWN else 1, dim=1)
        affinity = torch.stack([self._affinity(part) for part in parts]).mean(dim=0)
        for _ in range(STEPS):
            pooled = aggregate(pooled, affinity, KERNEL)
        return pooled

    def _affinity(self, compared: Tensor) -> Tensor:
        distance = neighbour_distances(compared.contiguous(), KERNEL)
        affinity = -distance / (2.0 * (2.0 * self.log_sigma).exp() + 1e-6)
        return affinity.softmax(dim=1)

    def _compared(self, crop: Crop, probabilities: Tensor, prior: Tensor | None) -> Tensor:
        if self.kind == "labels":
            shares, weight = pooled_shares(crop.labels, self.classes, CELL)
            return torch.where(weight > 0, shares, 1.0 / self.classes)
        if self.kind == "rgb":
            return F.avg_pool2d(crop.image, CELL)
        if self.kind == "own":
            return probabilities
        if self.kind in DRAWN and prior is not None:
            return DRAWN[self.kind].scale * prior
        told = self._features(crop) if prior is None else prior
        compared: Tensor = self.embed(torch.cat([probabilities, told], dim=1))
        return compared

    def _features(self, crop: Crop) -> Tensor:
        colours = 2.0 * F.avg_pool2d(crop.image, CELL) - 1.0
        size = (colours.shape[-2], colours.shape[-1])
        levels = [
            upsample(one(x), size)
            for one, x in zip(self.lateral, crop.maps_at(*STRIDES), strict=True)
        ]
        features = torch.cat([colours, torch.stack(levels).sum(dim=0)], dim=1)
        return torch.zeros_like(features) if self.kind == "blind" else features


class Corrector(nn.Module):
    """A U-Net of three levels over cells: (B, C, h, w), times (B,) -> (B, N, h, w)."""

    def __init__(self, inputs: int, classes: int, width: int = 20) -> None:
        super().__init__()
        self.fine = _block(inputs, width)
        self.time = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), zeroed(nn.Linear(32, width)))
        self.fine_again = _block(width, width)
        self.middle = nn.Sequential(_block(width, 2 * width), _block(2 * width, 2 * width))
        self.coarse = _block(2 * width, 2 * width)
        self.middle_up = _block(4 * width, width)
        self.fine_up = _block(2 * width, width)
        self.out = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor, r: Tensor | None = None, t: Tensor | None = None) -> Tensor:
        fine = self.fine(x)
        if r is not None and t is not None:
            fine = fine + self.time(torch.stack([r, t], dim=1))[:, :, None, None]
        fine = self.fine_again(fine)
        middle = self.middle(F.avg_pool2d(fine, 2))
        coarse = self.coarse(F.avg_pool2d(middle, 2))
        up = F.interpolate(coarse, size=middle.shape[-2:], mode="bilinear", align_corners=False)
        up = self.middle_up(torch.cat([up, middle], dim=1))
        up = F.interpolate(up, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        found: Tensor = self.out(self.fine_up(torch.cat([up, fine], dim=1)))
        return found


def broken_logits(labels: Tensor, classes: int, *, strokes: int = 12) -> Tensor:
    """Scores (B, N, h, w) of labels (B, h, w) that are broken as maps are.

    Strokes and blobs take the class of a cell nearby: roads get gaps, roofs are split or grow
    together, regions get holes and specks. Borders are blurred; some maps are surer than others.
    """
    broken = labels.clone()
    height, width = labels.shape[-2:]
    rows, cols = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for ids in broken:
        for _ in range(strokes):
            row, col = int(torch.randint(height, ())), int(torch.randint(width, ()))
            away = torch.randint(-16, 17, (2,))
            source = ids[(row + away[0]).clamp(0, height - 1), (col + away[1]).clamp(0, width - 1)]
            if source == IGNORE_ID:
                continue
            angle, length = float(torch.rand(()) * math.pi), float(24.0 * torch.rand(()))
            along = (rows - row) * math.sin(angle) + (cols - col) * math.cos(angle)
            across = (rows - row) * math.cos(angle) - (cols - col) * math.sin(angle)
            beyond = (along.abs() - length / 2.0).clamp_min(0.0)
            inside = torch.hypot(across, beyond) < 1.0 + 2.0 * float(torch.rand(()))
            ids[inside & (ids != IGNORE_ID)] = source
    known = (broken != IGNORE_ID)[:, None]
    shares = F.one_hot(broken.where(known[:, 0], 0), classes).movedim(-1, 1).float()
    blurred = F.avg_pool2d(shares, 3, stride=1, padding=1, count_include_pad=False)
    logits = torch.log(0.05 + blurred) * (0.5 + torch.rand(len(labels), 1, 1, 1))
    return torch.where(known, logits, 0.0)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    return nn.Sequential(convolution, nn.GroupNorm(4, outputs), nn.SiLU())


def _embedding(inputs: int) -> nn.Sequential:
    return nn.Sequential(_block(inputs, 24), _block(24, 24), nn.Conv2d(24, 8, 1))
