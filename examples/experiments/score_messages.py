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
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from corrections import CELL, DRAWN, KINDS, Correction, Crop
from frozen_host import STRIDE, FeatureScene, UnseenHost, load_backbones, read_kept
from torch import Tensor, nn

from hyseg_cli.learn.scores.boundaries import BAND_COUNTS, Disc, boundary_f1, count_boundaries
from hyseg_cli.learn.scores.metrics import count_pairs
from hyseg_cli.learn.scores.structure import betti_numbers
from hyseg_cli.legend import ClassIndices, read_legend
from hyseg_models import IGNORE_ID, HySegOutput, segmentation_loss
from hyseg_models.blocks.layers import upsample
from hyseg_models.prior.labels import pooled_shares

CROP, BATCH = 256, 4
STEPS_OF = {"labels": 60, "rgb": 60, "own": 60, "learnt": 120, "shared": 120}
"""Training steps; what is not named learns a prior of its own and gets `LONG`."""
LONG = 240
STEPS_OF_AUTOENCODER = 200
PATCH, TOLERANCE = 512, 3.0
"""Pixels: the squares in which pieces are counted, and how far a border may be off."""


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


def _shares(source: Iterator[Crop], classes: int) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        labels = torch.cat([next(source).labels for _ in range(BATCH)])
        yield pooled_shares(labels, classes, CELL)


def train(
    kind: str, scenes: Mapping[str, FeatureScene], logits: Mapping[str, Tensor], seed: int
) -> Correction:
    """A correction of the hosts of some scenes."""
    torch.manual_seed(seed)
    source = crops(scenes, logits, seed)
    first = next(source)
    network = Correction(kind, first.logits.shape[1], tuple(x.shape[1] for x in first.maps))
    if kind == "ae":
        network.autoencoder.fit(_shares(source, network.classes), STEPS_OF_AUTOENCODER)
    own = {"log_sigma", "gate", "evidence_gate"}
    others = [p for name, p in network.named_parameters() if name not in own and p.requires_grad]
    groups = [
        {"params": others, "lr": 2e-3},
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
    """Confusion matrices and structure of the host, the correction, and the prior turned over."""
    height, width = scene.labels.shape
    crop = crop_of(scene, logits, 0, 0, height, width)
    drawn = DRAWN.get(network.kind)
    channels = drawn.draws * drawn.channels if drawn else len(logits)
    size = (1, channels, height // CELL, width // CELL)
    noise = torch.randn(size, generator=torch.Generator().manual_seed(0))
    corrected, prior = network(crop, noise)
    maps = {"host": _map_of(scene, crop.logits), "own": _map_of(scene, corrected)}
    if prior is not None:
        maps["other"] = _map_of(scene, network(crop, noise, prior.flip(-1, -2))[0])
        if drawn is None:
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
