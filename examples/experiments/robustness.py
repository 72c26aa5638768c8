"""How well a model maps scenes that look different from those of its training.

    python robustness.py --data dubai/ --scene "Tile 2" --legend ../dubai.legend.json

Every change is made to the images of the scenes, never to their labels, and one at a time.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageEnhance, ImageFilter
from tables import mean_iou

PATH = click.Path(path_type=Path, exists=True)
IMAGES, LABELS = "images", "masks"

Change = Callable[[Image.Image], Image.Image]


def _jpeg(quality: int) -> Change:
    def change(image: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        return Image.open(stream).convert("RGB")

    return change


def _noise(deviation: float) -> Change:
    def change(image: Image.Image) -> Image.Image:
        values = np.asarray(image, float)
        noisy = values + np.random.default_rng(0).normal(0.0, deviation, values.shape)
        return Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))

    return change


def _scaled(factor: float) -> Change:
    """The image with pixels 1/factor as large; its labels are scaled along."""

    def change(image: Image.Image) -> Image.Image:
        size = (round(image.width * factor), round(image.height * factor))
        return image.resize(size, Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC)

    return change


def _unchanged(image: Image.Image) -> Image.Image:
    return image


LOOKS: dict[str, Change] = {
    "as it is": _unchanged,
    "brightness x 0.7": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "brightness x 1.3": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "contrast x 0.6": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "contrast x 1.4": lambda image: ImageEnhance.Contrast(image).enhance(1.4),
    "blur, sigma 1 px": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "blur, sigma 2 px": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "JPEG, quality 40": _jpeg(40),
    "JPEG, quality 15": _jpeg(15),
    "noise, deviation 8": _noise(8.0),
    "noise, deviation 20": _noise(20.0),
    "blue, green, red": lambda image: Image.merge("RGB", image.split()[::-1]),
}
TILE, TILES = 512, (256, 1024)
"""The usual side of a tile in pixels, and others."""
SIZES = {"pixels 4 times as large": 0.25, "2 times": 0.5, "1/2": 2.0, "1/4": 4.0}
"""Magnifications of the images."""


@click.command()
@click.option("--data", type=PATH, required=True, help="Folder with a folder for each scene.")
@click.option("--scene", "scenes", multiple=True, required=True, help="Repeat for more.")
@click.option("--legend", type=PATH, required=True)
@click.option("--model", type=PATH, help="[default: the built-in one]")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw mean IoU over pixel sizes.")
def main(
    data: Path, scenes: tuple[str, ...], legend: Path, model: Path | None, plot: Path | None
) -> None:
    """Print a table of mean IoU over changes of the images, and one over sizes of tiles."""
    click.echo("| image | mIoU | against as it is |\n|---|---|---|")
    base, by_size = None, {}
    changes = {name: (change, 1.0) for name, change in LOOKS.items()}
    changes |= {name: (_scaled(factor), factor) for name, factor in SIZES.items()}
    for name, (change, factor) in changes.items():
        with tempfile.TemporaryDirectory() as folder:
            found = {}
            for scene in scenes:
                place = Path(folder, scene)
                _write(data / scene, place, change, factor)
                found[scene] = _measure(place, legend, model)
        score = mean_iou({"scenes": found})
        base = score if base is None else base
        click.echo(f"| {name} | {score:.1f} | {score - base:+.1f} |")
        if change is _unchanged or name in SIZES:
            by_size[1.0 / factor] = score
    if plot is not None:
        draw_sizes(by_size, plot)
    click.echo("\n| tiles | mIoU | changes at tile lines, against elsewhere |\n|---|---|---|")
    for side in (TILE, *TILES):
        found = {scene: _measure(data / scene, legend, model, side) for scene in scenes}
        ratios = ", ".join(_seams(scores) for scores in found.values())
        click.echo(f"| {side} | {mean_iou({'scenes': found}):.1f} | {ratios} |")


def draw_sizes(by_size: dict[float, float], file: Path) -> None:
    """A chart of mean IoU, in points, over the size of pixels; 1 is that of the training."""
    sizes = sorted(by_size)
    figure = Figure(figsize=(5.0, 3.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(sizes, [by_size[size] for size in sizes], "o-", color="#1f5f8b")
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.set_ylim(0.0, 60.0)
    axes.set_xlabel("size of the pixels, 1 as in training")
    axes.set_ylabel("mean IoU")
    axes.grid(visible=True, color="#dddddd")
    figure.savefig(file, dpi=130)


def _seams(scores: dict[str, Any]) -> str:
    ratio = scores.get("seams", {}).get("ratio")
    return "n/a" if ratio is None else f"{ratio:.2f}"


def _write(scene: Path, place: Path, change: Change, factor: float) -> None:
    """A copy of a scene with changed images; labels stay, or are scaled by nearest neighbour."""
    for part in (IMAGES, LABELS):
        (place / part).mkdir(parents=True)
    for path in sorted((scene / IMAGES).iterdir()):
        with Image.open(path) as image:
            change(image.convert("RGB")).save(place / IMAGES / f"{path.stem}.png")
    for path in sorted((scene / LABELS).iterdir()):
        with Image.open(path) as image:
            size = (round(image.width * factor), round(image.height * factor))
            image.convert("RGB").resize(size, Image.Resampling.NEAREST).save(
                place / LABELS / f"{path.stem}.png"
            )


def _measure(place: Path, legend: Path, model: Path | None, tile: int = TILE) -> dict[str, Any]:
    arguments = ["--images", str(place), "--labels", str(place), "--tile-size", str(tile)]
    arguments += ["--reference-legend", str(legend)]
    arguments += [] if model is None else ["--model", str(model)]
    command = [sys.executable, "-m", "hyseg_cli", "evaluate", *arguments, "--json"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)  # noqa: S603
    if done.returncode:
        sys.exit(done.returncode)
    scores: dict[str, Any] = json.loads(done.stdout)
    return scores


if __name__ == "__main__":
    main()
