"""How much a trained network could gain from an affinity, before anything learns to use it.

    python ceiling.py --host host.safetensors --prior full.safetensors
        --data dubai/ --scene "Tile 2" --legend ../dubai.legend.json

The class scores of a trained network are passed along affinities that P2A makes of the labels
(nothing can be better), of the prior, of that prior turned upside down, of the network's own
probabilities, and of nothing at all. The gain from the labels is the most that a prior could give.
The prior's gain over its upside-down self is due to what it knows of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from torch import Tensor

from hyseg_cli.learn.data.chips import ValidationChips
from hyseg_cli.learn.data.labelled_scene import open_pairs
from hyseg_cli.learn.data.pairs import find_pairs
from hyseg_cli.learn.inference.standardise import Standardise
from hyseg_cli.learn.model.weights import Model, load_model
from hyseg_cli.learn.scores.metrics import ConfusionMatrix
from hyseg_cli.learn.training.stages import as_bytes
from hyseg_cli.legend import read_legend
from hyseg_models.blocks.neighbourhood import aggregate
from hyseg_models.config.config import P2AConfig
from hyseg_models.das.p2a import P2A
from hyseg_models.das.pyramid import cell_validity
from hyseg_models.prior.labels import pooled_shares

PATH = click.Path(path_type=Path, exists=True)
STRIDE, KERNEL = 4, 7
"""Grid of the prior, and neighbourhood of the method."""
SIGMAS = (0.15, 0.3, 0.6)
STEPS = (1, 3)
CHIP = 512


@dataclass(frozen=True)
class Seen:
    """A chip and the outputs of the two networks for it."""

    labels: Tensor
    """int64 (1, H, W)."""
    logits: Tensor
    """(1, N, H, W), of the host."""
    prior: Tensor
    """Class probabilities (1, N, h, w), of the other network's prior."""
    valid: Tensor
    """bool (1, 1, h, w)."""

    @property
    def classes(self) -> int:
        """Number of classes N."""
        return self.logits.shape[1]

    def shares(self) -> Tensor:
        """The labels as class probabilities (1, N, h, w); uniform where nothing is labelled."""
        shares, weight = pooled_shares(self.labels, self.classes, STRIDE)
        return torch.where(weight > 0, shares, 1.0 / self.classes)


SOURCES: dict[str, Callable[[Seen], Tensor]] = {
    "the labels": Seen.shares,
    "the prior": lambda seen: seen.prior,
    "the prior, upside down": lambda seen: seen.prior.flip(-1, -2),
    "its own probabilities": lambda seen: F.avg_pool2d(seen.logits.softmax(dim=1), STRIDE),
    "nothing (all neighbours alike)": lambda seen: torch.zeros_like(seen.prior),
}


@click.command()
@click.option("--host", type=PATH, required=True, help="Model whose class scores are passed on.")
@click.option("--prior", type=PATH, required=True, help="Model whose prior is used.")
@click.option("--data", type=PATH, required=True, help="Folder with a folder for each scene.")
@click.option("--scene", "scenes", multiple=True, required=True, help="Repeat for more.")
@click.option("--legend", type=PATH, required=True)
def main(host: Path, prior: Path, data: Path, scenes: tuple[str, ...], legend: Path) -> None:
    """Print mean IoU of class scores passed along affinities of several kinds."""
    chips = list(_look(load_model(host), load_model(prior), data, scenes, legend))
    click.echo(f"as it is {_mean_iou(chips, lambda seen: seen.logits):.1f}")
    click.echo(f"the prior alone {_mean_iou(chips, lambda seen: _enlarged(seen.prior, seen)):.1f}")
    columns = [(steps, sigma) for steps in STEPS for sigma in SIGMAS]
    heads = [f"{steps} x, sigma {sigma}" for steps, sigma in columns]
    click.echo(f"\n| affinity of | {' | '.join(heads)} |\n|---{'|---' * len(heads)}|")
    for name, source in SOURCES.items():
        found = [_mean_iou(chips, partial(passed_on, source, *column)) for column in columns]
        click.echo(f"| {name} | {' | '.join(f'{score:.1f}' for score in found)} |")


def passed_on(source: Callable[[Seen], Tensor], steps: int, sigma: float, seen: Seen) -> Tensor:
    """The class scores (1, N, H, W) after `steps` messages along the affinity of a source."""
    p2a = P2A(P2AConfig(kernel=KERNEL, sigma="fixed", sigma_init=sigma))
    affinity = p2a(source(seen), seen.valid)
    scores = F.avg_pool2d(seen.logits, STRIDE)
    for _ in range(steps):
        scores = aggregate(scores, affinity, KERNEL)
    return _enlarged(scores, seen)


def _enlarged(scores: Tensor, seen: Seen) -> Tensor:
    size = seen.logits.shape[-2:]
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)


@torch.inference_mode()
def _look(
    host: Model, prior: Model, data: Path, scenes: tuple[str, ...], legend: Path
) -> Iterator[Seen]:
    standardise = Standardise(host.card.radiometry)
    for scene in scenes:
        pairs = find_pairs(data / scene, data / scene)
        chips = ValidationChips(open_pairs(pairs, read_legend(legend)), size=CHIP)
        for chip in map(chips.__getitem__, range(len(chips))):
            valid, origin = chip["valid"][None], chip["origin"][None]
            image = standardise(chip["image"][None], valid)
            drawn = prior.network.draw_prior(image, valid, origin)
            logits = host.network(image, valid, origin).logits
            yield Seen(chip["labels"][None], logits, drawn, cell_validity(valid, STRIDE))


@torch.inference_mode()
def _mean_iou(chips: list[Seen], scores: Callable[[Seen], Tensor]) -> float:
    """Mean IoU, in points, over the pixels of all chips."""
    matrix = ConfusionMatrix(chips[0].classes)
    for seen in chips:
        matrix.update(as_bytes(seen.labels), as_bytes(scores(seen).argmax(dim=1)))
    return 100.0 * float(matrix.scores().mean_iou)


if __name__ == "__main__":
    main()
