"""Where another polygon would teach most: unsure, typical of much area, and unlike each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from hyseg_cli.learn.few.polygons import Floats, Ints

SIDE = 16
"""Side of a suggested square in pixels; candidates lie on a grid of this step."""
CLUSTERS = 40
"""Kinds of places that the candidates are sorted into, to see how common each is."""
ROUNDS = 10
KEPT = 20_000
"""Candidates of a scene that are compared with each other, at random if there are more."""


@dataclass(frozen=True)
class Candidates:
    """Squares of a scene; all arrays (n, ...)."""

    rows: Ints
    """First row of each."""
    cols: Ints
    features: npt.NDArray[np.float32]
    """(n, C)."""
    probabilities: npt.NDArray[np.float32]
    """(n, N) means over the square."""
    purity: npt.NDArray[np.float32]
    """Share of its pixels that get its commonest class: a square should be of one class."""
    unrest: npt.NDArray[np.float32]
    """How much the finest features vary within the square, as a share of how much they vary in
    the window: what varies is seldom of one class, whatever the model says of it."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def doubt(self) -> npt.NDArray[np.float32]:
        """Entropy of the probabilities of each square, (n,)."""
        known: npt.NDArray[np.float32] = self.probabilities.clip(1e-9)
        doubt: npt.NDArray[np.float32] = -(known * np.log(known)).sum(axis=1)
        return doubt

    @property
    def calm(self) -> npt.NDArray[np.float32]:
        """1 for a square without unrest, 1 / 2 for one with as much as half of them have, (n,)."""
        typical = max(float(np.median(self.unrest)), 1e-6)
        calm: npt.NDArray[np.float32] = 1.0 / (1.0 + (self.unrest / typical) ** 2)
        return calm

    def part(self, chosen: Ints) -> Candidates:
        """Some of them."""
        return Candidates(
            self.rows[chosen], self.cols[chosen], self.features[chosen],
            self.probabilities[chosen], self.purity[chosen], self.unrest[chosen],
        )  # fmt: skip


@dataclass(frozen=True)
class Suggestion:
    """A place to draw at, the most useful first."""

    candidate: int
    """Index into the candidates."""
    common: float
    """Share of the scene that looks like it."""


def candidates_of(
    logits: Tensor, levels: Sequence[Tensor], valid: Tensor, row: int, col: int
) -> Candidates:
    """The squares of a window without pixels that hold no data.

    Args:
        logits: (N, H, W), H and W multiples of 16.
        levels: Maps of features (C_i, h_i, w_i), finest first. Squares are compared by the finest
            map whose cells are at least as large as a square, or by the coarsest map if none is.
        valid: bool (H, W).
        row: First row of the window in the scene, a multiple of 16.
        col: Its first column.
    """
    probabilities = logits.float().softmax(dim=0)
    classes = len(probabilities)
    votes = F.one_hot(probabilities.argmax(dim=0), classes).movedim(-1, 0).float()
    purity = F.avg_pool2d(votes, SIDE).amax(dim=0)
    down, across = purity.shape
    whole = F.avg_pool2d(valid[None].float(), SIDE)[0] == 1.0
    level = next((level for level in levels if level.shape[-1] <= across), levels[-1])
    seen = F.adaptive_avg_pool2d(level.float(), (down, across))
    at = whole.nonzero().numpy()

    def of(levels: Tensor) -> npt.NDArray[np.float32]:
        flat: npt.NDArray[np.float32] = levels[..., whole].movedim(0, -1).numpy()
        return flat

    return Candidates(
        at[:, 0] * SIDE + row,
        at[:, 1] * SIDE + col,
        of(seen),
        of(F.avg_pool2d(probabilities, SIDE)),
        of(purity[None])[:, 0],
        of(_unrest(levels[0].float(), down, across)[None])[:, 0],
    )


def _unrest(features: Tensor, down: int, across: int) -> Tensor:
    """Mean variance of channels within the quarters of squares, each as a share of its own.

    Shapes: (C, h, w) -> (down, across).
    """
    quarters = F.adaptive_avg_pool2d(features, (2 * down, 2 * across))
    middle = F.avg_pool2d(quarters, 2)
    within = F.avg_pool2d(quarters.square(), 2) - middle.square()
    whole = quarters.flatten(1).var(dim=1, correction=0).clamp_min(1e-6)
    return (within / whole[:, None, None]).mean(dim=0).clamp_min(0.0)


def join(parts: list[Candidates]) -> Candidates:
    """The candidates of several windows together."""
    return Candidates(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("rows", "cols", "features", "probabilities", "purity", "unrest")
        )
    )


def suggest(candidates: Candidates, drawn: Ints, count: int, *, seed: int) -> list[Suggestion]:
    """Choose places one by one: the largest of doubt x purity^2 x calm x root of share x novelty.

    Where a model is unsure, classes often meet, and a square with two classes teaches nothing:
    purity and calm keep off such places. Share is that of the candidates in the same cluster of
    features; novelty is the distance to the nearest place that is chosen or drawn, relative to
    the typical distance, at most 1.

    Args:
        candidates: All squares.
        drawn: Indices of those that polygons lie in already.
        count: How many to choose.
        seed: Of the clusters.

    Source: uncertainty, density and diversity as in Settles 2009, Active Learning Literature
    Survey, sections 3.1 and 3.6; greedy distances as in Sener and Savarese 2018 (core-sets).
    """
    x = torch.from_numpy(candidates.features)
    x = F.normalize((x - x.mean(dim=0)) / x.std(dim=0).clamp_min(1e-6), dim=1)
    cluster = _clusters(x, min(CLUSTERS, max(1, len(x) // 8)), seed)
    shares = np.bincount(cluster, minlength=CLUSTERS)[cluster] / len(x)
    clear = candidates.purity**2 * candidates.calm
    worth = candidates.doubt * clear * np.sqrt(shares)
    typical = float(torch.cdist(x[:: max(1, len(x) // 500)], x.mean(dim=0)[None]).mean())
    nearest = torch.full((len(x),), torch.inf)
    for index in drawn.tolist():
        nearest = torch.minimum(nearest, _distance(x, index))
    worth[drawn] = -1.0
    found: list[Suggestion] = []
    for _ in range(min(count, len(x) - len(np.unique(drawn)))):
        novelty = (nearest / typical).clamp(max=1.0).numpy()
        best = int(np.argmax(np.where(worth < 0, -1.0, worth * novelty)))
        found.append(Suggestion(best, float(shares[best])))
        worth[best] = -1.0
        nearest = torch.minimum(nearest, _distance(x, best))
    return found


def _distance(x: Tensor, index: int) -> Tensor:
    return (x - x[index]).square().sum(dim=1).sqrt()


def _clusters(x: Tensor, count: int, seed: int) -> Ints:
    """Cluster of each row, by a few rounds of k-means."""
    generator = torch.Generator().manual_seed(seed)
    middles = x[torch.randperm(len(x), generator=generator)[:count]].clone()
    for _ in range(ROUNDS):
        nearest = torch.cdist(x, middles).argmin(dim=1)
        for cluster in range(count):
            own = x[nearest == cluster]
            if len(own):
                middles[cluster] = own.mean(dim=0)
    return torch.cdist(x, middles).argmin(dim=1).numpy()


def covered(candidates: Candidates, rows: Floats, cols: Floats, reach: Floats) -> Ints:
    """Indices of the candidates whose square lies within reach of some positions in pixels."""
    if len(rows) == 0:
        return np.zeros(0, np.int64)
    middle_row, middle_col = candidates.rows + SIDE / 2, candidates.cols + SIDE / 2
    near = np.zeros(len(candidates), bool)
    for row, col, far in zip(rows, cols, reach, strict=True):
        near |= np.maximum(np.abs(middle_row - row), np.abs(middle_col - col)) <= far
    return np.flatnonzero(near)
