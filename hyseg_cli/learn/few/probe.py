"""Fitting a linear head: polygons weigh alike, and leaving polygons out chooses the penalty."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from hyseg_cli.learn.few.polygons import Ints

PENALTIES = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
"""Penalties on the squared weights that are tried, the strongest first."""
ALONE = 0.01
"""The penalty where every class has a single polygon, so that none can be chosen."""
FOLDS = 8
"""Parts that the polygons are dealt into; one is left out at a time."""
RANK = 512
"""Directions of the features that are kept: where samples are many, the others are noise."""
STEPS = 60
TEMPERATURES = tuple(float(t) for t in np.geomspace(0.5, 4.0, 13))


SURE = 0.9
"""Probability from which on the class of a pixel counts as known."""
WEIGHT = 0.5
"""What all these pixels weigh together, beside 1 for all polygons."""
DIRECTIONS = 512
"""Of these pixels, those whose directions are added to those of the polygons, about."""


@dataclass(frozen=True)
class Samples:
    """Pixels of polygons, with what the backbone makes of them."""

    features: Tensor
    """float32 (n, C), scaled so that one penalty suits them all."""
    channel: Ints
    """(n,) class of each."""
    polygon: Ints
    """(n,) row of its polygon in the file."""

    @property
    def weights(self) -> Tensor:
        """Weight of each sample: classes weigh alike, within them polygons, mean 1."""
        weights = np.zeros(len(self.channel))
        classes = np.unique(self.channel)
        for channel in classes:
            polygons = np.unique(self.polygon[self.channel == channel])
            for polygon in polygons:
                own = (self.polygon == polygon) & (self.channel == channel)
                weights[own] = 1.0 / (len(classes) * len(polygons) * own.sum())
        return torch.from_numpy(weights * len(weights)).float()


@dataclass(frozen=True)
class Fit:
    """A linear head, and how it did on polygons that it was fitted without."""

    weight: Tensor
    """float32 (classes, C), on features as in `Samples`."""
    bias: Tensor
    """(classes,)."""
    penalty: float
    held_out: npt.NDArray[np.float32] | None
    """(n, classes) probabilities of each sample by a head that had not seen its polygon, NaN
    where there was none; None if nothing could be left out."""
    temperature: float
    """What makes these probabilities mean what they say."""
    shares: tuple[float, ...] | None = None
    """Shares of the classes among what it was sure of around the polygons; None if it has learned
    from these alone."""


def fit_probe(samples: Samples, classes: int, *, seed: int) -> Fit:
    """Fit a multinomial logistic regression to convergence.

    The penalty is the one whose heads give polygons that they had not seen the best likelihood,
    classes and polygons weighing alike. Classes with a single polygon take no part in that.

    Args:
        samples: What to learn from; every class has at least one.
        classes: Classes N.
        seed: Of the way polygons are dealt into folds.
    """
    basis = _basis_of(samples.features)
    x = samples.features @ basis
    y, weights = torch.from_numpy(samples.channel), samples.weights
    folds = deal(samples, seed)
    best, chosen = None, ALONE
    if folds is not None:
        best, chosen = _leave_out(x, y, weights, folds, classes)
    weight, bias = _solve(x, y, weights[None], classes, chosen)
    temperature = 1.0 if best is None else _temperature(best, y, weights)
    return Fit(
        (basis @ weight[:, 0]).T,
        bias[0],
        chosen,
        None if best is None else (best / temperature).softmax(dim=1).numpy(),
        temperature,
    )


def fit_with_surroundings(fitted: Fit, samples: Samples, around: Tensor) -> Fit:
    """Fit a head again, to polygons and to what it is sure of around them.

    Polygons do not say how common classes are: people draw as many on rare ones. Pixels around
    them that the head is sure of count like polygons, each class as often as it is found.
    What it says of polygons that were left out stays as it is: it is that of heads which learned
    from polygons alone.

    Args:
        fitted: A head that was fitted to polygons.
        samples: The pixels of the polygons.
        around: (n, C) features of pixels spread evenly over the surroundings.

    Source: Lee 2013, Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method.
    """
    probabilities = (around @ fitted.weight.T + fitted.bias).softmax(dim=1)
    sure, channel = probabilities.max(dim=1)
    known = around[sure > SURE]
    if len(known) == 0:
        return fitted
    basis = _basis_of(torch.cat([samples.features, known[:: -(-len(known) // DIRECTIONS)]]))
    x = torch.cat([samples.features, known]) @ basis
    y = torch.cat([torch.from_numpy(samples.channel), channel[sure > SURE]])
    each = WEIGHT * len(samples.channel) / len(known)
    weights = torch.cat([samples.weights, torch.full((len(known),), each)])
    weight, bias = _solve(x, y, weights[None], len(fitted.bias), fitted.penalty)
    shares = np.bincount(channel[sure > SURE].numpy(), minlength=len(fitted.bias)) / len(known)
    return replace(
        fitted, weight=(basis @ weight[:, 0]).T, bias=bias[0], shares=tuple(shares.tolist())
    )


def deal(samples: Samples, seed: int) -> Ints | None:
    """The fold of each sample, -1 for classes with one polygon; None if all have only one.

    The polygons of each class are dealt out in turn, so that a fold takes few of any class.
    """
    fold = np.full(len(samples.polygon), -1, np.int64)
    rng = np.random.default_rng(seed)
    turn = 0
    for channel in np.unique(samples.channel):
        own = samples.channel == channel
        polygons = rng.permutation(np.unique(samples.polygon[own]))
        if len(polygons) < 2:
            continue
        for polygon in polygons:
            fold[own & (samples.polygon == polygon)] = turn % FOLDS
            turn += 1
    return fold if turn else None


def _basis_of(features: Tensor) -> Tensor:
    """Orthonormal directions (C, r) that the samples spread along."""
    count, width = features.shape
    rank = min(RANK, count, width)
    if count < width:
        values, vectors = torch.linalg.eigh(features @ features.T)
        kept = vectors[:, -rank:][:, values[-rank:] > 1e-6 * values[-1]]
        basis: Tensor = torch.linalg.qr(features.T @ kept).Q
    else:
        basis = torch.linalg.eigh(features.T @ features).eigenvectors[:, -rank:]
    return basis


def _leave_out(
    x: Tensor, y: Tensor, weights: Tensor, folds: Ints, classes: int
) -> tuple[Tensor, float]:
    """The penalty with the best likelihood of samples left out, and their scores (n, classes).

    Scores are those by a head that had not seen the fold of a sample; NaN without one.
    """
    out = torch.from_numpy(folds)
    kept = torch.stack([torch.where(out == fold, 0.0, weights) for fold in range(out.max() + 1)])
    best, chosen, likelihood, start = None, PENALTIES[0], -np.inf, None
    for penalty in PENALTIES:
        start = _solve(x, y, kept, classes, penalty, start)
        scores = torch.full((len(x), classes), torch.nan)
        for fold, (weight, bias) in enumerate(zip(start[0].unbind(1), start[1], strict=True)):
            scores[out == fold] = x[out == fold] @ weight + bias
        found = _likelihood(scores, y, weights)
        if best is not None and found <= likelihood:
            break  # weaker penalties only fit what is accidental
        best, chosen, likelihood = scores, penalty, found
    return cast("Tensor", best), chosen


def _solve(
    x: Tensor,
    y: Tensor,
    weights: Tensor,
    classes: int,
    penalty: float,
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Heads (C, F, classes) that converged, and their offsets (F, classes), F rows of weights.

    Weights are (F, n), x is (n, C). All heads are found in one search, from those of another
    penalty if they are given: one large product is faster than many small ones.
    """
    heads = len(weights)
    weight = torch.zeros(x.shape[1], heads, classes) if start is None else start[0].clone()
    bias = torch.zeros(heads, classes) if start is None else start[1].clone()
    search = torch.optim.LBFGS(
        [weight.requires_grad_(), bias.requires_grad_()],
        max_iter=STEPS,
        history_size=10,
        line_search_fn="strong_wolfe",
    )
    shares = (weights / weights.sum(dim=1, keepdim=True)).T.flatten()  # (n * F,)
    targets = y.repeat_interleave(heads)

    def loss() -> Tensor:
        search.zero_grad()
        scores = (x @ weight.flatten(1)).view(len(x), heads, classes) + bias
        fitted = F.cross_entropy(scores.flatten(0, 1), targets, reduction="none") @ shares
        total = fitted + 0.5 * penalty * weight.square().sum()
        torch.autograd.backward(total)
        return total

    search.step(loss)  # type: ignore[no-untyped-call]
    # A class that no sample of these polygons has would be pushed away without end.
    return weight.detach(), bias.detach().clamp(-20.0, 20.0)


def _likelihood(scores: Tensor, y: Tensor, weights: Tensor) -> float:
    known = ~scores[:, 0].isnan()
    losses = F.cross_entropy(scores[known], y[known], reduction="none")
    return -float(losses @ weights[known] / weights[known].sum())


def _temperature(scores: Tensor, y: Tensor, weights: Tensor) -> float:
    return max(TEMPERATURES, key=lambda t: _likelihood(scores / t, y, weights))
