"""Messages on the class scores of a frozen host: what has to be known to make its maps better?

    python score_messages.py --data dubai/ --legend ../dubai.legend.json --out runs/scores/
        --weights fast=tf_efficientnet_lite0.safetensors --weights vit=vit_small.safetensors

Each scene is held out in turn. Corrections start exactly at the host and are trained on the maps
of hosts that have not seen the scene they map. `paired.py` makes the table. What was done before
is not done again. The weights are those that `examples/convert_backbone.py` writes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from frozen_host import STRIDE, FeatureScene, UnseenHost, load_backbones, read_kept
from torch import Tensor, nn

from hyseg_cli.learn.scores.boundaries import BAND_COUNTS, Disc, boundary_f1, count_boundaries
from hyseg_cli.learn.scores.metrics import count_pairs
from hyseg_cli.learn.scores.structure import betti_numbers
from hyseg_cli.legend import ClassIndices, read_legend
from hyseg_models import IGNORE_ID, HySegOutput, segmentation_loss
from hyseg_models.blocks.layers import upsample, zeroed
from hyseg_models.blocks.neighbourhood import aggregate, neighbour_distances
from hyseg_models.config.prior_config import ObjectiveConfig, TimeConfig
from hyseg_models.prior.labels import pooled_shares
from hyseg_models.prior.meanflow import draw_times, meanflow_loss

KERNEL, STEPS = 7, 2
"""Neighbourhood, and how often messages are passed."""
CROP, BATCH = 256, 4
CELL = 8
"""Pixels per cell of the messages."""
NOISE = 0.5
"""Standard deviation of what is added to the host's probabilities."""
KINDS = (
    "labels", "majority", "rgb", "own", "learnt", "shared", "evid", "mean", "flow", "partitions",
    "partitions8",
)  # fmt: skip
"""Rows: an affinity of the labels, of nothing (a majority filter), of colours, of the host's
probabilities, or learnt, with a gate for each class or one between 0 and 1 for all; a corrector
without noise, one trained with noise that is used without, and one with noise; a prior of random
colourings, by one draw or the mean of eight affinities."""
GENERATIVE = ("mean", "flow")
COLOURINGS = {"partitions": 1, "partitions8": 8}
"""Draws of each row that takes affinities from random colourings."""
COLOURS = 4
"""Channels of a random colouring."""
STEPS_OF = {"labels": 60, "rgb": 60, "own": 60, "learnt": 120, "shared": 120}
"""Training steps; what is not named learns a prior of its own and gets `LONG`."""
LONG = 240
PATCH, TOLERANCE = 512, 3.0
"""Pixels: the squares in which pieces are counted, and how far a border may be off."""


@dataclass(frozen=True)
class Crop:
    """What a correction sees of some places; the first axis is the batch."""

    image: Tensor
    """float32 (B, 3, H, W)."""
    labels: Tensor
    """int64 (B, H, W)."""
    logits: Tensor
    """Of the host, float32 (B, N, H/4, W/4)."""
    maps: tuple[Tensor, ...]
    """Features of the backbones at strides 8 and 16."""


class Correction(nn.Module):
    """logits + up(gate (A^2 pooled - pooled)) + up(gate' evidence), A from what the kind compares.

    Both gates start at zero, one for each class, so the network starts as the host.

    Args:
        kind: One of `KINDS`.
        classes: Number of classes N.
        channels: Channels of the maps of a `Crop`.
    """

    def __init__(self, kind: str, classes: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.kind = kind
        self.log_sigma = nn.Parameter(torch.tensor(-1.0))
        self.classes = classes
        self.gate = nn.Parameter(torch.zeros(1 if kind == "shared" else classes))
        self.evidence_gate = nn.Parameter(torch.zeros(classes))
        self.lateral = nn.ModuleList(nn.Conv2d(c, 16, 1) for c in channels)
        told = classes + 3 + 16
        if kind in ("learnt", "shared"):
            self.embed: nn.Module = _embedding(told)
        if kind in COLOURINGS:
            self.corrector = Corrector(told - classes + COLOURS, COLOURS)
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
        own = self._prior(crop, probabilities, noise)
        prior = own if prior is None else prior
        change = self.gate[:, None, None] * (self._passed(crop, pooled, prior) - pooled)
        if prior is not None and self.kind not in COLOURINGS:
            evidence = torch.log(prior.clamp(0.02, 1.0))
            centred = evidence - evidence.mean(dim=1, keepdim=True)
            change = change + self.evidence_gate[:, None, None] * centred
        size = (crop.logits.shape[-2], crop.logits.shape[-1])
        return crop.logits + upsample(change, size), own

    def extra_loss(self, crop: Crop, progress: float) -> Tensor | float:
        """What the corrector learns beside the map."""
        shares, weight = pooled_shares(crop.labels, self.classes, CELL)
        probabilities = F.avg_pool2d(crop.logits, CELL // STRIDE).softmax(dim=1)
        if self.kind in COLOURINGS:
            return self._colouring_loss(crop, shares, weight, progress)
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

    def _colouring_loss(
        self, crop: Crop, shares: Tensor, weight: Tensor, progress: float
    ) -> Tensor:
        """MeanFlow from noise to the label map, whose classes get other colours each time."""
        colours = torch.randn(len(shares), self.classes, COLOURS)
        data = torch.einsum("bnhw,bnc->bchw", shares, colours)
        told = self._features(crop)

        def velocity(x: Tensor, r: Tensor, t: Tensor, rows: Tensor) -> Tensor:
            seen = torch.cat([x * (1.0 - r).view(-1, 1, 1, 1), told[rows]], dim=1)
            clean: Tensor = self.corrector(seen, r, t)
            return (x - clean) / t.clamp_min(0.05).view(-1, 1, 1, 1)

        objective, law = ObjectiveConfig(), TimeConfig(endpoint_quota=0.5)
        times = draw_times(len(data), law, objective=objective, progress=progress)
        noise = torch.randn_like(data)
        return meanflow_loss(
            velocity, data, weight, noise, times, objective, progress=progress
        ).loss

    def _colourings(self, crop: Crop, noise: Tensor | None) -> Tensor:
        """Draws in one step, one after the other along the channels; no gradient."""
        told = self._features(crop)
        size = (len(told), COLOURINGS[self.kind] * COLOURS, *told.shape[-2:])
        noise = torch.randn(size) if noise is None else noise
        zero, one = told.new_zeros(len(told)), told.new_ones(len(told))
        with torch.no_grad():
            draws = [
                self.corrector(torch.cat([part, told], dim=1), zero, one)
                for part in noise.split(COLOURS, dim=1)
            ]
        return torch.cat(draws, dim=1)

    def _prior(self, crop: Crop, start: Tensor, noise: Tensor | None) -> Any:
        if self.kind in COLOURINGS:
            return self._colourings(crop, noise)
        if self.kind == "evid":
            told = torch.cat([start, self._features(crop)], dim=1)
            return self.corrector(told).softmax(dim=1)
        if self.kind not in GENERATIVE:
            return None
        noise = torch.randn_like(start) if noise is None else noise
        noisy = start + NOISE * noise * (self.kind == "flow")
        zero, one = start.new_zeros(len(start)), start.new_ones(len(start))
        return self.corrector(torch.cat([noisy, start, self._features(crop)], dim=1), zero, one)

    def _passed(self, crop: Crop, pooled: Tensor, prior: Tensor | None) -> Tensor:
        compared = self._compared(crop, pooled.softmax(dim=1), prior)
        parts = compared.chunk(COLOURINGS.get(self.kind, 1), dim=1)
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
        if self.kind in COLOURINGS and prior is not None:
            return prior
        told = self._features(crop) if prior is None else prior
        compared: Tensor = self.embed(torch.cat([probabilities, told], dim=1))
        return compared

    def _features(self, crop: Crop) -> Tensor:
        colours = 2.0 * F.avg_pool2d(crop.image, CELL) - 1.0
        size = (colours.shape[-2], colours.shape[-1])
        levels = [upsample(one(x), size) for one, x in zip(self.lateral, crop.maps, strict=True)]
        return torch.cat([colours, torch.stack(levels).sum(dim=0)], dim=1)


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


def _block(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
    return nn.Sequential(convolution, nn.GroupNorm(4, outputs), nn.SiLU())


def _embedding(inputs: int) -> nn.Sequential:
    return nn.Sequential(_block(inputs, 24), _block(24, 24), nn.Conv2d(24, 8, 1))


def crop_of(
    scene: FeatureScene, logits: Tensor, row: int, col: int, height: int, width: int
) -> Crop:
    """A window of a scene, all numbers in pixels and multiples of 32."""
    sides = [scene.image.shape[-1] // x.shape[-1] for x in scene.maps]

    def cut(x: Tensor, stride: int) -> Tensor:
        rows = slice(row // stride, (row + height) // stride)
        cols = slice(col // stride, (col + width) // stride)
        return x[None, ..., rows, cols].float()

    return Crop(
        cut(scene.image, 1),
        cut(scene.labels, 1).long(),
        cut(logits, STRIDE),
        tuple(cut(x, s) for x, s in zip(scene.maps, sides, strict=True) if s in (8, 16)),
    )


def crops(
    scenes: Mapping[str, FeatureScene], logits: Mapping[str, Tensor], seed: int
) -> Iterator[Crop]:
    """Crops of random scenes, not nearly all of one class, turned over at random, for ever."""
    rng = np.random.default_rng(seed)
    names = list(scenes)
    area = np.sqrt([scenes[name].labels.numel() for name in names])
    while True:
        name = names[rng.choice(len(names), p=area / area.sum())]
        height, width = scenes[name].labels.shape
        row, col = (32 * int(rng.integers((side - CROP) // 32 + 1)) for side in (height, width))
        crop = crop_of(scenes[name], logits[name], row, col, CROP, CROP)
        known = crop.labels[crop.labels != IGNORE_ID]
        if known.numel() < 0.3 * crop.labels.numel():
            continue
        if known.bincount().max() <= 0.75 * known.numel() or rng.random() < 0.1:
            yield _turned(crop, [axis for axis in (-1, -2) if rng.random() < 0.5])


def _turned(crop: Crop, axes: list[int]) -> Crop:
    return Crop(
        crop.image.flip(axes), crop.labels.flip(axes), crop.logits.flip(axes),
        tuple(x.flip(axes) for x in crop.maps),
    )  # fmt: skip


def _stacked(parts: list[Crop]) -> Crop:
    return Crop(
        torch.cat([part.image for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.logits for part in parts]),
        tuple(torch.cat(levels) for levels in zip(*(part.maps for part in parts), strict=True)),
    )


def train(
    kind: str, scenes: Mapping[str, FeatureScene], logits: Mapping[str, Tensor], seed: int
) -> Correction:
    """A correction of the hosts of some scenes."""
    torch.manual_seed(seed)
    source = crops(scenes, logits, seed)
    first = next(source)
    network = Correction(kind, first.logits.shape[1], tuple(x.shape[1] for x in first.maps))
    own = {"log_sigma", "gate", "evidence_gate"}
    groups = [
        {"params": [p for name, p in network.named_parameters() if name not in own], "lr": 2e-3},
        {"params": [getattr(network, name) for name in sorted(own)], "lr": 6e-2, "weight_decay": 0},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    steps = STEPS_OF.get(kind, LONG)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min(1.0, (k + 1) / 10) * 0.5 * (1 + math.cos(math.pi * k / steps))
    )
    for step in range(steps):
        crop = _stacked([next(source) for _ in range(BATCH)])
        found, _ = network(crop)
        labels = crop.labels[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        loss = segmentation_loss(HySegOutput(found, None, None), labels)
        loss = loss + network.extra_loss(crop, step / steps)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if kind == "shared":
            network.gate.data.clamp_(0.0, 1.0)
    return network.eval()


@torch.inference_mode()
def measure(network: Correction, scene: FeatureScene, logits: Tensor) -> dict[str, Any]:
    """Confusion matrices and structure of the host, the correction, and another image's prior."""
    height, width = scene.labels.shape
    crop = crop_of(scene, logits, 0, 0, height, width)
    channels = COLOURS * COLOURINGS[network.kind] if network.kind in COLOURINGS else len(logits)
    size = (1, channels, height // CELL, width // CELL)
    noise = torch.randn(size, generator=torch.Generator().manual_seed(0))
    corrected, prior = network(crop, noise)
    maps = {"host": _map_of(scene, crop.logits), "own": _map_of(scene, corrected)}
    if prior is not None:
        maps["other"] = _map_of(scene, network(crop, noise, prior.flip(-1, -2))[0])
        if network.kind not in COLOURINGS:
            maps["aux"] = _map_of(scene, upsample(prior, (height // STRIDE, width // STRIDE)))
    return _scored(scene, maps, network.classes) | {
        "gate": network.gate.tolist(), "sigma": float(network.log_sigma.exp())
    }  # fmt: skip


def measure_majority(scene: FeatureScene, logits: Tensor) -> dict[str, Any]:
    """The host's map, and it with the commonest class of 15 x 15 pixels in place of each."""
    mapped = _map_of(scene, logits[None])
    votes = F.one_hot(torch.from_numpy(mapped).long(), len(logits)).permute(2, 0, 1).float()
    smooth = F.avg_pool2d(votes, 15, stride=1, padding=7, count_include_pad=False).argmax(dim=0)
    maps = {"host": mapped, "own": smooth.numpy().astype(np.uint8)}
    return _scored(scene, maps, len(logits))


def _map_of(scene: FeatureScene, logits: Tensor) -> ClassIndices:
    size = (scene.labels.shape[-2], scene.labels.shape[-1])
    return upsample(logits, size)[0].argmax(dim=0).numpy().astype(np.uint8)


def _scored(scene: FeatureScene, maps: Mapping[str, ClassIndices], classes: int) -> dict[str, Any]:
    labels = scene.labels.numpy().astype(np.uint8)
    counts = {name: count_pairs(labels, mapped, classes).tolist() for name, mapped in maps.items()}
    pieces = {name: structure(labels, maps[name], classes) for name in ("host", "own")}
    return counts | {"structure": pieces}


def structure(labels: ClassIndices, mapped: ClassIndices, classes: int) -> dict[str, float]:
    """Mean error of the number of pieces in squares, and boundary F1 in points."""
    known = np.where(labels == IGNORE_ID, np.uint8(IGNORE_ID), mapped)
    errors, counts = [], np.zeros((classes, BAND_COUNTS), np.int64)
    for row in range(0, labels.shape[0] - PATCH // 2, PATCH):
        for col in range(0, labels.shape[1] - PATCH // 2, PATCH):
            place = slice(row, row + PATCH), slice(col, col + PATCH)
            true, found = (np.ascontiguousarray(ids[place]) for ids in (labels, known))
            pieces = [betti_numbers(ids, classes)[:, 0] for ids in (true, found)]
            present = sum(pieces) > 0
            if present.any():
                errors.append(np.abs(pieces[0] - pieces[1])[present].mean())
            whole = (slice(None), slice(None))
            counts += count_boundaries(true, found, whole, Disc(TOLERANCE), classes)
    return {
        "b0_error": float(np.mean(errors)),
        "boundary_f1": 100.0 * float(np.nanmean(boundary_f1(counts))),
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--legend", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--weights", multiple=True, required=True, help="PRESET=FILE of its backbone.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of results.")
@click.option("--features", type=click.Path(path_type=Path), help="Folder that keeps features.")
@click.option("--row", "rows", multiple=True, type=click.Choice(KINDS), default=KINDS)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1, 2))
@click.option("--minutes", type=float, help="Begin no run after this time.")
def main(
    data: Path,
    legend: Path,
    weights: tuple[str, ...],
    out: Path,
    features: Path | None,
    rows: tuple[str, ...],
    seeds: tuple[int, ...],
    minutes: float | None,
) -> None:
    """Train and measure every correction, each scene of DATA held out in turn."""
    files = {name: Path(path) for name, _, path in (entry.partition("=") for entry in weights)}
    classes = read_legend(legend)
    torch.set_flush_denormal(True)  # affinities of colours become that small, and slow
    networks = load_backbones(files)
    folders = sorted(path for path in data.iterdir() if path.is_dir())
    scenes = {
        folder.name: read_kept(folder, classes, networks, features or out) for folder in folders
    }
    host = UnseenHost(scenes, len(classes))
    out.mkdir(parents=True, exist_ok=True)
    until = math.inf if minutes is None else time.monotonic() + 60.0 * minutes
    for seed in seeds:
        for number, name in enumerate(scenes, 1):
            wanted = [out / f"{row}_{number}_{seed}.json" for row in rows]
            if all(path.is_file() for path in wanted) or time.monotonic() > until:
                continue
            logits = host.logits(name)
            others = {key: scene for key, scene in scenes.items() if key != name}
            for row, path in zip(rows, wanted, strict=True):
                if path.is_file() or time.monotonic() > until:
                    continue
                found = {"row": row, "fold": number, "seed": seed, "place": name}
                if row == "majority":
                    found |= measure_majority(scenes[name], logits[name])
                else:
                    network = train(row, others, logits, seed)
                    found |= measure(network, scenes[name], logits[name])
                path.write_text(json.dumps(found) + "\n")
                click.echo(f"{row}, {name} held out, seed {seed}", err=True)


if __name__ == "__main__":
    main()
