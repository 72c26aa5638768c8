"""How well a model maps places that are not as they were when it learned, or in another way.

    python robustness.py DATA --place "examples/sources/dubai.toml:Tile 2*"

DATA is the folder below which the sources lie; see `certainty.py` for places. First their images
are changed, never their labels, in one way at a time; then they are mapped with other options.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from certainty import Look, Measured, measure
from PIL import Image, ImageEnhance, ImageFilter

from hyseg_cli.learn.inference.augmentation import VIEWS
from hyseg_cli.learn.inference.predictor import Predictor
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.learn.model.weights import Model, load_model
from hyseg_cli.learn.scores.metrics import Scores
from hyseg_cli.learn.scores.seams import SeamScores

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


LOOKS: dict[str, Change] = {
    "as it is": lambda image: image,
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


@dataclass(frozen=True)
class Way:
    """Options of `hyseg predict`; None for what the model's card says."""

    tile_size: int | None = None
    overlap: int | None = None
    tta: str = "none"


WAYS = {
    "as usual": Way(),
    "`--tile-size 256`": Way(tile_size=256),
    "`--tile-size 1024`": Way(tile_size=1024),
    "`--overlap 256`": Way(overlap=256),
    "`--tta flip`": Way(tta="flip"),
    "`--tta d4`": Way(tta="d4"),
}


def on_bands(change: Change) -> Look:
    """A change of red, green and blue, for arrays (3, height, width)."""

    def look(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        changed = change(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))))
        return np.asarray(changed).transpose(2, 0, 1)

    return look


def mapped_in(model: Model, data: Path, place: str, way: Way) -> Measured:
    """What a model makes of a place with some options."""
    classify = Predictor(model, torch.device("cpu"), views=VIEWS[way.tta])
    return measure(model, classify, data, place, tile_size=way.tile_size, overlap=way.overlap)


def cells(found: list[Measured]) -> str:
    """Mean IoU and overall accuracy of each place."""
    scores = [Scores.of(one.confusion) for one in found]
    return " | ".join(f"{one.mean_iou:.3f} / {one.overall_accuracy:.3f}" for one in scores)


def seams(found: list[Measured]) -> str:
    """How much more often the class changes at tile lines, over all places that have any."""
    blocks = np.array([block for one in found for block in one.changes])
    scores = SeamScores.of(blocks)
    if scores is None:
        return ""
    return f"{scores.ratio:.2f} ({scores.interval.low:.2f} to {scores.interval.high:.2f})"


def looks_rows(model: Model, data: Path, places: tuple[str, ...]) -> Iterator[str]:
    """Lines of Markdown: what changes of the images cost, a column for each place."""
    classify = Predictor(model, torch.device("cpu"))
    yield f"| image | {' | '.join(places)} |"
    yield "|---" * (len(places) + 1) + "|"
    for name, change in LOOKS.items():
        look = on_bands(change)
        found = [measure(model, classify, data, place, look=look) for place in places]
        yield f"| {name} | {cells(found)} |"


def ways_rows(model: Model, data: Path, places: tuple[str, ...]) -> Iterator[str]:
    """Lines of Markdown: what options change, and the seams of all places together."""
    yield f"| mapped | {' | '.join(places)} | changes at tile lines, against elsewhere |"
    yield "|---" * (len(places) + 2) + "|"
    for name, way in WAYS.items():
        found = [mapped_in(model, data, place, way) for place in places]
        yield f"| {name} | {cells(found)} | {seams(found)} |"


TABLES = {"looks": looks_rows, "ways": ways_rows}


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--model", type=click.Path(path_type=Path), help="[default: the built-in one]")
@click.option("--place", "places", multiple=True, required=True, help="SOURCE.toml[:PATTERN]")
@click.option(
    "--table", "tables", multiple=True, type=click.Choice(list(TABLES)), default=tuple(TABLES)
)
def main(data: Path, model: Path | None, places: tuple[str, ...], tables: tuple[str, ...]) -> None:
    """Print mean IoU and overall accuracy of each PLACE, its image changed or mapped otherwise."""
    loaded = load_model(find_model(model))
    for table in tables:
        for line in TABLES[table](loaded, data, places):
            click.echo(line)
        click.echo()


if __name__ == "__main__":
    main()
