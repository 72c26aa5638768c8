"""Maps from a few simulated polygons: hyseg beside a random forest and logistic regression."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import rasterio
import shapely
import torch
import torch.nn.functional as F
from benchmarks.few_scenes import UNLABELLED, LabelledImage, Labels, Pixels
from scipy.ndimage import maximum_filter

Floats = npt.NDArray[np.float32]

SIDES = (8, 28)
"""Smallest and largest side of a square in pixels."""
LEAST_SHARE = 0.01
"""Share of the labelled pixels from which on a class is drawn and scored."""
LOOKED_AT = 100
"""Pixels of a square that logistic regression learns from, at most."""
TOLERANCE = 7
"""Side of the square around a pixel in which a border counts as met: 3 pixels each way."""


@dataclass(frozen=True)
class Square:
    """A square inside one class."""

    row: int
    col: int
    side: int
    channel: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.row, self.row + self.side), slice(self.col, self.col + self.side)


@dataclass(frozen=True)
class Score:
    """What a map is worth, outside the squares."""

    miou: float
    accuracy: float
    edges: float
    """Mean F1 of the borders of classes within 3 pixels."""


def classes_of(truth: Labels) -> list[int]:
    """Classes that are common enough to be drawn."""
    counts = np.bincount(truth[truth != UNLABELLED].ravel())
    return [int(c) for c in np.flatnonzero(counts >= LEAST_SHARE * counts.sum())]


def draw_squares(truth: Labels, count: int, seed: int) -> list[Square]:
    """Squares at random places inside true classes, the classes in turn, none over another."""
    rng = np.random.default_rng(seed)
    places = {channel: np.argwhere(truth == channel) for channel in classes_of(truth)}
    order = rng.permutation(list(places))
    taken = np.zeros(truth.shape, bool)
    squares: list[Square] = []
    for turn in range(20 * count):
        channel = int(order[turn % len(order)])
        square = _try_square(truth, taken, places[channel], channel, rng)
        if square is not None:
            taken[square.slices] = True
            squares.append(square)
        if len(squares) == count:
            break
    return squares


def _try_square(
    truth: Labels,
    taken: npt.NDArray[np.bool_],
    places: npt.NDArray[np.int64],
    channel: int,
    rng: np.random.Generator,
) -> Square | None:
    for _ in range(200):
        side = int(rng.integers(SIDES[0], SIDES[1] + 1))
        row, col = places[rng.integers(len(places))] - side // 2
        square = Square(int(row), int(col), side, channel)
        inside = truth[square.slices]
        fits = min(row, col) >= 0 and inside.shape == (side, side)
        if fits and (inside == channel).all() and not taken[square.slices].any():
            return square
    return None


def write_squares(squares: list[Square], names: tuple[str, ...], scene: Path, path: Path) -> None:
    """The squares as polygons of a scene, with their class in the column `kind`."""
    with rasterio.open(scene) as file:
        place, crs = file.transform, file.crs
    shapes = []
    for square in squares:
        rows, cols = square.slices
        left, top = place * (cols.start, rows.start)
        right, bottom = place * (cols.stop, rows.stop)
        shapes.append(shapely.box(left, bottom, right, top))
    kinds = [names[square.channel] for square in squares]
    gpd.GeoDataFrame({"kind": kinds}, geometry=shapes, crs=crs).to_file(path)


def pixels_of(squares: list[Square]) -> tuple[Labels, Labels, Labels]:
    """Rows, columns and classes of all pixels of some squares."""
    parts = [
        np.stack([*np.mgrid[square.slices].reshape(2, -1), np.full(square.side**2, square.channel)])
        for square in squares
    ]
    rows, cols, channels = np.concatenate(parts, axis=1)
    return rows, cols, channels


def features_of_image(image: Pixels) -> Floats:
    """Colours, edges and textures of an image (H, W, 3) at five scales, (H, W, C)."""
    from skimage.feature import multiscale_basic_features

    found: Floats = multiscale_basic_features(image, sigma_min=1, sigma_max=16, channel_axis=-1)
    return found


def map_by_forest(features: Floats, squares: list[Square]) -> Labels:
    """The map of a random forest over features of pixels (H, W, C)."""
    from sklearn.ensemble import RandomForestClassifier

    rows, cols, channels = pixels_of(squares)
    forest = RandomForestClassifier(100, class_weight="balanced", random_state=0)
    forest.fit(features[rows, cols], channels)
    found: Labels = forest.predict(features.reshape(-1, features.shape[-1]))
    return found.reshape(features.shape[:2])


def map_by_logistic_regression(tokens: list[Floats], squares: list[Square]) -> Labels:
    """The map of logistic regression on maps of tokens (C, h, w), bilinear between their middles.

    Scores are linear in the tokens, so that magnifying them is magnifying the tokens.
    """
    from sklearn.linear_model import LogisticRegression

    side = tokens[0].shape[-1] * 8
    rng = np.random.default_rng(0)
    parts = [np.stack(pixels_of([square])) for square in squares]
    chosen = [part[:, rng.permutation(part.shape[1])[:LOOKED_AT]] for part in parts]
    rows, cols, channels = np.concatenate(chosen, axis=1)
    levels = [torch.from_numpy(level)[None] for level in tokens]
    at = torch.from_numpy(np.stack([cols, rows], axis=-1) + 0.5).float()[None, None] * 2 / side - 1
    seen = torch.cat([_between(level, at) for level in levels], dim=1).numpy()
    mean, deviation = seen.mean(axis=0), seen.std(axis=0) + 1e-6
    model = LogisticRegression(max_iter=300, class_weight="balanced")
    model.fit((seen - mean) / deviation, channels)
    weight = torch.from_numpy(model.coef_ / deviation).float()
    offset = torch.from_numpy(model.intercept_ - (model.coef_ / deviation) @ mean).float()
    if len(weight) == 1:  # two classes have one row of weights
        weight, offset = torch.cat([-weight, weight]), torch.cat([-offset, offset])
    scores, start = offset[None, :, None, None].expand(1, -1, side, side), 0
    for level in levels:
        part = weight[:, start : (start := start + level.shape[1])]
        scores = scores + F.interpolate(
            F.conv2d(level, part[:, :, None, None]), size=(side, side), mode="bilinear"
        )
    best: Labels = scores[0].argmax(dim=0).numpy()
    return np.asarray(model.classes_, np.int64)[best]


def _between(level: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Tokens (1, C, h, w) at places (1, 1, n, 2) from -1 to 1: (n, C)."""
    found = F.grid_sample(level, at, padding_mode="border", align_corners=False)
    return found[0, :, 0].T


def score(found: Labels, scene: LabelledImage, squares: list[Square]) -> Score:
    """Compare a map with the truth; borders beside unlabelled pixels count for nobody."""
    truth = scene.truth
    counted = truth != UNLABELLED
    for square in squares:
        counted[square.slices] = False
    known = ~_near(truth == UNLABELLED)
    ious, edges = [], []
    for channel in classes_of(truth):
        mine, true = found == channel, truth == channel
        both = (mine & true & counted).sum()
        ious.append(both / max(((mine | true) & counted).sum(), 1))
        edges.append(_boundary_f1(_border(mine) & known, _border(true) & known))
    accuracy = (found == truth)[counted].mean()
    return Score(float(np.mean(ious)), float(accuracy), float(np.mean(edges)))


def _boundary_f1(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    precision = (one & _near(other)).sum() / max(one.sum(), 1)
    recall = (other & _near(one)).sum() / max(other.sum(), 1)
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def _near(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    near: npt.NDArray[np.bool_] = maximum_filter(mask, TOLERANCE)
    return near


def _border(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Pixels of a mask with another beside, above or below them."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
