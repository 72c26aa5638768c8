"""Messages on the class scores of a frozen host: what has to be known to make its maps better?

    python score_messages.py DATA --source ../sources/dubai.toml --out runs/scores
        --weights fast=tf_efficientnet_lite0.safetensors --weights vit=vit_small.safetensors

DATA is the folder below which the source lies. Each of its places, a scene, is held out in turn.
Corrections start exactly at the host and are trained on the maps of hosts that have not seen the
scene they map. `paired.py` makes the tables. What was done before is not done again. The weights
are those that `examples/convert_backbone.py` writes. The images of a place adjoin, three in a row,
unless `--chips` says that they are chips which do not, such as those of rural Ohio, whose places
are strips by longitude.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from corrections import (
    BROKEN,
    CELL,
    DRAWN,
    KINDS,
    MAJORITY,
    STRIDES,
    Correction,
    broken_logits,
)
from crops import BATCH, Crop, crop_of, crops, stacked
from frozen_host import STRIDE, FeatureScene, UnseenHost, load_backbones, parts_of, read_kept
from torch import Tensor, nn
from trained_host import TrainedHost

from hyseg_cli.learn.scores.boundaries import Disc, boundary_f1, boundary_iou, count_boundaries
from hyseg_cli.learn.scores.metrics import count_pairs
from hyseg_cli.learn.scores.structure import betti_numbers, cl_dice, skeleton_counts
from hyseg_cli.legend import ClassIndices
from hyseg_models import IGNORE_ID, HySegOutput, segmentation_loss
from hyseg_models.blocks.layers import upsample
from hyseg_models.prior.labels import pooled_shares

STEPS_OF = {"labels": 60, "rgb": 60, "own": 60, "learnt": 120, "shared": 120}
"""Training steps; what is not named learns a prior of its own and gets `LONG`."""
LONG = 240
STEPS_OF_AUTOENCODER = 200
SQUARES = {"": 512, "_small": 256}
"""Pixels: the squares in which pieces and holes are counted, by what their names end in."""
TOLERANCES = {"": 3.0, "_1px": 1.0}
"""Pixels: how far a border may be off."""


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
    network = Correction(
        kind, first.logits.shape[1], tuple(x.shape[1] for x in first.maps_at(*STRIDES))
    )
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
        crop = stacked([next(source) for _ in range(BATCH)])
        if kind.endswith(BROKEN):
            crop = _partly_broken(crop, network.classes, step / steps)
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


def _partly_broken(crop: Crop, classes: int, progress: float) -> Crop:
    """Labels broken on purpose in place of the host's maps: at first all, from a quarter on half.

    The first quarter is what label rasters alone could teach.
    """
    count = len(crop.labels) if progress < 0.25 else len(crop.labels) // 2
    labels = crop.labels[:count, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    return replace(crop, logits=torch.cat([broken_logits(labels, classes), crop.logits[count:]]))


@torch.inference_mode()
def measure(network: Correction, place: Place, foreign: Place, road: int) -> dict[str, Any]:
    """Confusion matrices and structure of the host, the correction, and with a foreign prior."""
    crop, noise = place.whole(network, seed=0)
    corrected, prior = network(crop, noise)
    maps = {"host": place.map_of(crop.logits), "own": place.map_of(corrected)}
    if prior is not None:
        _, other = network(*foreign.whole(network, seed=1))
        maps["other"] = place.map_of(network(crop, noise, _repeated(other, prior))[0])
        if network.kind not in DRAWN:
            maps["aux"] = place.map_of(upsample(prior, place.size))
    return _scored(place.scene, maps, network.classes, road) | {
        "gate": network.gate.tolist(), "sigma": float(network.log_sigma.exp())
    }  # fmt: skip


def _repeated(other: Tensor, like: Tensor) -> Tensor:
    """The prior of another place, repeated or cut so that it covers this one."""
    counts = [-(-a // b) for a, b in zip(like.shape[-2:], other.shape[-2:], strict=True)]
    return other.repeat(1, 1, *counts)[..., : like.shape[-2], : like.shape[-1]]


def measure_majority(place: Place, side: int, road: int) -> dict[str, Any]:
    """The host's map, and it with the commonest class of `side` x `side` pixels for each."""
    mapped, classes = place.map_of(place.logits[None]), len(place.logits)
    votes = F.one_hot(torch.from_numpy(mapped).long(), classes).permute(2, 0, 1).float()
    shares = F.avg_pool2d(votes, side, stride=1, padding=side // 2, count_include_pad=False)
    maps = {"host": mapped, "own": shares.argmax(dim=0).numpy().astype(np.uint8)}
    return _scored(place.scene, maps, classes, road)


@dataclass(frozen=True)
class Place:
    """A scene as its host, which has not seen it, scores it."""

    scene: FeatureScene
    logits: Tensor
    """(N, H/4, W/4)."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the scores."""
        return self.logits.shape[-2], self.logits.shape[-1]

    def whole(self, network: Correction, *, seed: int) -> tuple[Crop, Tensor]:
        """The scene as one crop, and noise for a draw."""
        height, width = self.scene.labels.shape
        drawn = DRAWN.get(network.kind)
        channels = drawn.draws * drawn.channels if drawn else len(self.logits)
        size = (1, channels, height // CELL, width // CELL)
        noise = torch.randn(size, generator=torch.Generator().manual_seed(seed))
        return crop_of(self.scene, self.logits, 0, 0, height, width), noise

    def map_of(self, logits: Tensor) -> ClassIndices:
        """The map (H, W) of scores (1, N, h, w)."""
        size = (self.scene.labels.shape[-2], self.scene.labels.shape[-1])
        return upsample(logits, size)[0].argmax(dim=0).numpy().astype(np.uint8)


def _scored(
    scene: FeatureScene, maps: Mapping[str, ClassIndices], classes: int, road: int
) -> dict[str, Any]:
    labels = scene.labels.numpy().astype(np.uint8)
    counts = {name: count_pairs(labels, mapped, classes).tolist() for name, mapped in maps.items()}
    scale = 1.0 if scene.chip is None else scene.chip / max(SQUARES.values())
    shape = {
        name: structure(labels, maps[name], classes, road, scale=scale) for name in ("host", "own")
    }
    return counts | {"structure": shape}


def structure(
    labels: ClassIndices, mapped: ClassIndices, classes: int, road: int, *, scale: float = 1.0
) -> dict[str, float]:
    """Mean errors of the numbers of pieces and holes in squares; borders and roads in points."""
    mapped = np.where(labels == IGNORE_ID, np.uint8(IGNORE_ID), mapped)
    found: dict[str, float] = {}
    for name, side in SQUARES.items():
        pieces, holes = _miscounted(labels, mapped, classes, int(scale * side))
        found |= {f"b0_error{name}": pieces, f"b1_error{name}": holes}
    everywhere = (slice(None), slice(None))
    for name, tolerance in TOLERANCES.items():
        counts = count_boundaries(labels, mapped, everywhere, Disc(tolerance), classes)
        found[f"boundary_f1{name}"] = 100.0 * float(np.nanmean(boundary_f1(counts)))
        found[f"boundary_iou{name}"] = 100.0 * float(np.nanmean(boundary_iou(counts)))
    roads = (np.where(ids == road, 0, 1).astype(np.uint8) for ids in (labels, mapped))
    lines = skeleton_counts(*roads, 1)
    return found | {"road_cl_dice": 100.0 * float(cl_dice(lines)[0])}


def _miscounted(
    labels: ClassIndices, mapped: ClassIndices, classes: int, side: int
) -> tuple[float, float]:
    """Mean errors of b0 and b1 over squares, of the classes that one of the two has there."""
    errors = []
    for row in range(0, labels.shape[0] - side // 2, side):
        for col in range(0, labels.shape[1] - side // 2, side):
            place = slice(row, row + side), slice(col, col + side)
            true, found = (
                betti_numbers(np.ascontiguousarray(ids[place]), classes) for ids in (labels, mapped)
            )
            present = (true + found)[:, 0] > 0
            if present.any():
                errors.append(np.abs(true - found)[present].mean(axis=0))
    pieces, holes = np.mean(errors, axis=0)
    return float(pieces), float(holes)


def corrected(
    row: str, places: Mapping[str, Place], held_out: str, seed: int, road: int
) -> dict[str, Any]:
    """What a row makes of a place, after it was trained on all others."""
    place = places[held_out]
    if row in MAJORITY:
        return measure_majority(place, MAJORITY[row], road)
    others = {name: seen for name, seen in places.items() if name != held_out}
    scenes = {name: seen.scene for name, seen in others.items()}
    logits = {name: seen.logits for name, seen in others.items()}
    foreign = next(iter(others.values()))
    return measure(train(row, scenes, logits, seed), place, foreign, road)


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--source", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--weights", multiple=True, required=True, help="PRESET=FILE of its backbone.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of results.")
@click.option("--features", type=click.Path(path_type=Path), help="Folder that keeps features.")
@click.option("--row", "rows", multiple=True, type=click.Choice(KINDS), default=KINDS)
@click.option("--seed", "seeds", multiple=True, type=int, default=(0, 1, 2))
@click.option("--place", "places", multiple=True, help="Hold out these alone.")
@click.option("--chips", type=int, help="Pixels: scenes of chips, each of which is seen alone.")
@click.option("--road", default="road", help="The class whose lines are compared.")
@click.option(
    "--host",
    "kind",
    type=click.Choice(["ridge", "decoder"]),
    default="ridge",
    help="Regression in closed form, or the decoder of UNetFormer, trained.",
)
@click.option("--minutes", type=float, help="Begin no run after this time.")
def main(
    data: Path,
    source: Path,
    weights: tuple[str, ...],
    out: Path,
    features: Path | None,
    rows: tuple[str, ...],
    seeds: tuple[int, ...],
    places: tuple[str, ...],
    chips: int | None,
    road: str,
    kind: str,
    minutes: float | None,
) -> None:
    """Train and measure every correction, each place of a source below DATA held out in turn."""
    files = {name: Path(path) for name, _, path in (entry.partition("=") for entry in weights)}
    torch.set_flush_denormal(True)  # affinities of colours become that small, and slow
    networks = load_backbones(files)
    classes, parts = parts_of(data, source)
    scenes = {
        name: read_kept(name, pairs, classes, networks, features or out, chips)
        for name, pairs in parts.items()
    }
    line = classes.names.index(road)
    ridge = UnseenHost(scenes, len(classes)) if kind == "ridge" else None
    out.mkdir(parents=True, exist_ok=True)
    until = math.inf if minutes is None else time.monotonic() + 60.0 * minutes
    for seed in seeds:
        host = ridge or TrainedHost(scenes, len(classes), features or out, seed)
        for number, name in enumerate(scenes, 1):
            if places and name not in places:
                continue
            wanted = [out / f"{row}_{source.stem}_{number}_{seed}.json" for row in rows]
            if all(path.is_file() for path in wanted) or time.monotonic() > until:
                continue
            logits = host.logits(name)
            seen = {key: Place(scene, logits[key]) for key, scene in scenes.items()}
            for row, path in zip(rows, wanted, strict=True):
                if path.is_file() or time.monotonic() > until:
                    continue
                scene = name if chips is None else source.stem
                found = {"row": row, "seed": seed, "scene": scene, "held_out": name, "on": kind}
                found |= corrected(row, seen, name, seed, line)
                path.write_text(json.dumps(found) + "\n")
                click.echo(f"{row}, {name} held out, seed {seed}", err=True)


if __name__ == "__main__":
    main()
