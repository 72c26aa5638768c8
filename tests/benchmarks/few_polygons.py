"""Maps from a few simulated polygons: hyseg beside a random forest and logistic regression."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from scipy.ndimage import binary_dilation

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

SIDES = (8, 28)
"""Smallest and largest side of a square in pixels."""
LEAST_SHARE = 0.01
"""Share of the labelled pixels from which on a class is drawn and scored."""
UNLABELLED = 255


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


def write_squares(squares: list[Square], scene: Path, path: Path) -> None:
    """The squares as polygons of a scene, with their class in the column `kind`."""
    with rasterio.open(scene) as file:
        place, crs = file.transform, file.crs
    shapes = []
    for square in squares:
        rows, cols = square.slices
        left, top = place * (cols.start, rows.start)
        right, bottom = place * (cols.stop, rows.stop)
        shapes.append(shapely.box(left, bottom, right, top))
    kinds = [str(square.channel) for square in squares]
    gpd.GeoDataFrame({"kind": kinds}, geometry=shapes, crs=crs).to_file(path)


def pixels_of(squares: list[Square]) -> tuple[Labels, Labels, Labels]:
    """Rows, columns and classes of all pixels of some squares."""
    parts = [
        np.stack([*np.mgrid[square.slices].reshape(2, -1), np.full(square.side**2, square.channel)])
        for square in squares
    ]
    rows, cols, channels = np.concatenate(parts, axis=1)
    return rows, cols, channels


def map_by_forest(image: npt.NDArray[np.uint8], squares: list[Square]) -> Labels:
    """The map of a random forest over multi-scale Gaussian features of an image (H, W, 3)."""
    from skimage.feature import multiscale_basic_features
    from sklearn.ensemble import RandomForestClassifier

    features = multiscale_basic_features(image, sigma_min=1, sigma_max=16, channel_axis=-1)
    rows, cols, channels = pixels_of(squares)
    forest = RandomForestClassifier(100, class_weight="balanced", random_state=0)
    forest.fit(features[rows, cols], channels)
    found: Labels = forest.predict(features.reshape(-1, features.shape[-1]))
    return found.reshape(image.shape[:2])


def map_by_logistic_regression(tokens: Floats, stride: int, squares: list[Square]) -> Labels:
    """The map of logistic regression on one map of tokens (h, w, C), by the nearest token."""
    from sklearn.linear_model import LogisticRegression

    rows, cols, channels = pixels_of(squares)
    flat = tokens.reshape(-1, tokens.shape[-1])
    standard = (tokens - flat.mean(axis=0)) / (flat.std(axis=0) + 1e-6)
    model = LogisticRegression(max_iter=300, class_weight="balanced")
    model.fit(standard[rows // stride, cols // stride], channels)
    found: Labels = model.predict(standard.reshape(len(flat), -1)).reshape(tokens.shape[:2])
    return found.repeat(stride, axis=0).repeat(stride, axis=1)


def score(found: Labels, truth: Labels, squares: list[Square]) -> tuple[float, float]:
    """Mean IoU outside the squares, and mean F1 of the borders of classes within 3 pixels."""
    counted = truth != UNLABELLED
    for square in squares:
        counted[square.slices] = False
    ious, edges = [], []
    for channel in classes_of(truth):
        mine, true = found == channel, truth == channel
        both = (mine & true & counted).sum()
        ious.append(both / max(((mine | true) & counted).sum(), 1))
        edges.append(_boundary_f1(mine, true))
    return float(np.mean(ious)), float(np.mean(edges))


def _boundary_f1(mine: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    one, other = _border(mine), _border(true)
    near = np.ones((7, 7), bool)
    precision = (one & binary_dilation(other, near)).sum() / max(one.sum(), 1)
    recall = (other & binary_dilation(one, near)).sum() / max(other.sum(), 1)
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def _border(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Pixels of a mask with another beside, above or below them."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner
