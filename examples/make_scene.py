"""Write a small georeferenced scene with labels: seeded, for demonstrations and tests.

    python make_scene.py FOLDER [--name NAME] [--seed N] [--size PIXELS]

FOLDER/images/NAME.tif is an RGB image in UTM at 0.5 m with an empty corner, FOLDER/labels/NAME.tif
its class raster, FOLDER/legend.json the legend.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter, shift

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8]

BUILDING, LAND, ROAD, VEGETATION, WATER = range(5)
NODATA_ID = 255
PIXEL_M = 0.5

LEGEND = {
    "classes": [
        {"id": BUILDING, "name": "building", "color": "#c8403c"},
        {"id": LAND, "name": "land", "color": "#dcc08c"},
        {"id": ROAD, "name": "road", "color": "#8c8c94"},
        {"id": VEGETATION, "name": "vegetation", "color": "#5fa04e"},
        {"id": WATER, "name": "water", "color": "#3d7fc4"},
    ],
    "ignore": [],
}

# Mean red, green, blue of each class, and how much its texture varies.
COLORS = {
    BUILDING: ((168, 150, 140), 14),
    LAND: ((186, 170, 138), 16),
    ROAD: ((104, 104, 110), 7),
    VEGETATION: ((72, 98, 58), 20),
    WATER: ((34, 56, 74), 5),
}


def smooth_field(rng: np.random.Generator, size: int, scale: float) -> Floats:
    """A random field of zero mean and unit variance, smooth over `scale` pixels."""
    field = gaussian_filter(rng.standard_normal((size, size)), scale, mode="reflect")
    return (field - field.mean()) / field.std()


def draw_roads(rng: np.random.Generator, size: int) -> Mask:
    """Four to six gently winding roads that cross the scene."""
    rows, cols = np.mgrid[:size, :size].astype(float)
    roads = np.zeros((size, size), bool)
    for _ in range(int(rng.integers(4, 7))):
        angle = rng.uniform(0.0, np.pi)
        along = cols * np.cos(angle) + rows * np.sin(angle)
        across = rows * np.cos(angle) - cols * np.sin(angle)
        middle = size / 2 * (np.cos(angle) - np.sin(angle)) + rng.uniform(-0.35, 0.35) * size
        bends = rng.uniform(8, 30) * np.sin(along / rng.uniform(60, 160) + rng.uniform(0, 6))
        roads |= np.abs(across - middle - bends) < rng.uniform(5, 9)
    return roads


def draw_buildings(rng: np.random.Generator, free: Mask) -> tuple[Labels, Floats]:
    """Rectangles on free ground: their numbers (0 for none) and the brightness of their roofs."""
    size = len(free)
    rows, cols = np.mgrid[:size, :size].astype(float)
    number = np.zeros((size, size), np.uint8)
    roof = np.zeros((size, size))
    placed = 0
    for _ in range(1500):
        if placed == 120:
            break
        row, col = rng.uniform(0, size, 2)
        angle, half_length, half_width = rng.uniform(0, np.pi), *rng.uniform(8, 22, 2)
        reach = int(half_length + half_width) + 4
        near = (
            slice(max(0, int(row) - reach), int(row) + reach),
            slice(max(0, int(col) - reach), int(col) + reach),
        )
        down, right = rows[near] - row, cols[near] - col
        along = right * np.cos(angle) + down * np.sin(angle)
        across = down * np.cos(angle) - right * np.sin(angle)
        inside = (np.abs(along) < half_length) & (np.abs(across) < half_width)
        margin = (np.abs(along) < half_length + 4) & (np.abs(across) < half_width + 4)
        if not inside.any() or not (free[near][margin] & (number[near][margin] == 0)).all():
            continue
        placed += 1
        number[near][inside] = placed
        # Gabled: one side of the ridge faces the sun.
        roof[near][inside] = rng.uniform(-25, 45) + np.where(across[inside] > 0, 14.0, -14.0)
    return number, roof


def make_layout(rng: np.random.Generator, size: int) -> tuple[Labels, Floats]:
    """The class of each pixel, and the brightness that roofs add to it."""
    labels = np.full((size, size), LAND, np.uint8)
    labels[smooth_field(rng, size, size / 24) > 0.6] = VEGETATION
    basin = smooth_field(rng, size, size / 10) > 1.0
    islands = smooth_field(rng, size, size / 50) > 1.1
    labels[basin & ~islands] = WATER
    labels[basin & islands] = VEGETATION
    roads = draw_roads(rng, size)
    labels[roads & (labels != WATER)] = ROAD
    number, roof = draw_buildings(rng, labels == LAND)
    labels[number > 0] = BUILDING
    return labels, roof


def render(rng: np.random.Generator, labels: Labels, roof: Floats) -> Labels:
    """The scene as a camera sees it: uint8 (3, height, width), never 0."""
    size = len(labels)
    image = np.zeros((3, size, size))
    texture = 0.6 * smooth_field(rng, size, 1.0) + 0.8 * smooth_field(rng, size, 12.0)
    for label, (color, strength) in COLORS.items():
        here = labels == label
        for band, value in enumerate(color):
            image[band][here] = value + strength * texture[here]
    image += roof
    shadow = shift((labels == BUILDING).astype(float), (5, 4), order=1) > 0.5
    image[:, shadow & (labels != BUILDING)] *= 0.55
    image *= 1.0 + 0.06 * smooth_field(rng, size, size / 4)
    image = gaussian_filter(image, (0, 0.6, 0.6))
    image += rng.normal(0.0, 3.0, image.shape)
    return np.clip(np.rint(image), 1, 255).astype(np.uint8)


def write_scene(folder: Path, name: str, *, seed: int, size: int = 768) -> tuple[Path, Path]:
    """Write one scene and return the paths of its image and its labels."""
    rng = np.random.default_rng(seed)
    labels, roof = make_layout(rng, size)
    image = render(rng, labels, roof)
    rows, cols = np.mgrid[:size, :size]
    corner = rows + cols < size // 4
    image[:, corner] = 0
    labels[corner] = NODATA_ID
    image_path, label_path = (folder / kind / f"{name}.tif" for kind in ("images", "labels"))
    # Scenes of different seeds lie side by side.
    place = from_origin(500_000 + seed * size * PIXEL_M, 5_400_000, PIXEL_M, PIXEL_M)
    profile = {
        "driver": "GTiff",
        "width": size,
        "height": size,
        "dtype": "uint8",
        "crs": "EPSG:32632",
        "transform": place,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
    }
    for path in (image_path, label_path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(image_path, "w", **profile, count=3, nodata=0, photometric="RGB") as file:
        file.write(image)
    with rasterio.open(label_path, "w", **profile, count=1, nodata=NODATA_ID) as file:
        file.write(labels, 1)
    (folder / "legend.json").write_text(json.dumps(LEGEND, indent=2) + "\n", encoding="utf-8")
    return image_path, label_path


def main() -> None:
    """Write the scene that the command line asks for."""
    parser = argparse.ArgumentParser(description="Write a georeferenced scene with labels.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="scene")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=768, help="side in pixels")
    arguments = parser.parse_args()
    for path in write_scene(
        arguments.folder, arguments.name, seed=arguments.seed, size=arguments.size
    ):
        print(path)


if __name__ == "__main__":
    main()
