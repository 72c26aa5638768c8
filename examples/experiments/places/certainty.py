"""Whether a model is less sure where it is wrong: errors among the surest pixels of some places.

    python certainty.py DATA --place "examples/sources/dubai.toml:Tile [23]*"

DATA is the folder below which the sources lie. A place is a source, and after a colon a pattern of
places, scenes or files in it. Right is what the labels of the source allow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch

from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.geo.window import Window
from hyseg_cli.learn.data.chip import Chip
from hyseg_cli.learn.data.labelled_scene import open_pair
from hyseg_cli.learn.inference.in_memory import map_array
from hyseg_cli.learn.inference.predictor import Predictor
from hyseg_cli.learn.model.contract import alignment_for
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.learn.model.weights import Model, load_model
from hyseg_cli.learn.scores.calibration import COVERAGES, certainty_of
from hyseg_cli.learn.scores.metrics import Counts, count_pairs
from hyseg_cli.learn.scores.seams import TileLines, count_changes
from hyseg_cli.legend import NODATA_ID, QUANTISED_ONE, ClassIndices
from hyseg_cli.settings.source import read_sources
from hyseg_cli.workflows.evaluate.source import MappedSource
from hyseg_cli.workflows.sources import bands_of

Look = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""From an image (bands, height, width) to another."""


class Measured:
    """What is known of the pixels of a place; mutable.

    Args:
        classes: Names of the classes that its labels tell apart.
    """

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.confusion = np.zeros((len(classes), len(classes)), np.int64)
        """Labels down, map across."""
        self.changes: list[Counts] = []
        """Of each scene, how often the class changes at tile lines and elsewhere."""
        self.pixels = np.zeros(QUANTISED_ONE + 1, np.int64)
        """By confidence in 8 bits."""
        self.right = np.zeros(QUANTISED_ONE + 1, np.int64)
        """Those that are right."""

    def add(
        self, labels: ClassIndices, mapped: ClassIndices, confidence: npt.NDArray[np.float32]
    ) -> None:
        """Count pixels (n,) whose largest probability is `confidence`."""
        level = np.rint(confidence * QUANTISED_ONE).astype(np.intp)
        self.pixels += np.bincount(level, minlength=len(self.pixels))
        self.right += np.bincount(level[labels == mapped], minlength=len(self.right))
        self.confusion += count_pairs(labels, mapped, len(self.classes))


def measure(
    model: Model,
    classify: Predictor,
    data: Path,
    place: str,
    *,
    shrink: int = 1,
    native: bool = False,
    look: Look | None = None,
    tile_size: int | None = None,
    overlap: int | None = None,
) -> Measured:
    """Errors and confidence of a model in a place, its pixels made `shrink` times as large.

    The network sees them as `hyseg predict` shows them; if they are to be `native`, as they are.
    A `look` changes the images before.
    """
    file, _, pattern = place.partition(":")
    settings = read_sources([Path(file)], data)[0]
    mapped = MappedSource.of(settings, model.card.legend, {})
    bands, _ = bands_of(settings, model.card.bands)
    tile, shared = model.card.tiling(tile_size, overlap)
    found = Measured(mapped.collapse.legend.names)
    for placed in mapped.source.pairs:
        if not placed.is_called("", f"/{pattern or '*'}"):
            continue
        scene = open_pair(placed.pair, mapped.legend, bands, settings.class_field)
        chip = shrunk(scene.read(Window(0, 0, scene.height, scene.width)), shrink)
        image = chip.image[: len(model.card.bands)]
        image = image if look is None else look(image)
        size = getattr(scene, "resolution_m", None) or mapped.resolution_m
        alignment = alignment_for(
            scene.name, size and size * shrink, model.card, "native" if native else "auto"
        )
        probabilities = map_array(
            image,
            chip.valid,
            classify,
            bands=len(image),
            tile_size=tile,
            overlap=shared,
            alignment=alignment,
        )
        channels = np.where(chip.valid, probabilities.argmax(axis=0), NODATA_ID).astype(np.uint8)
        grid = TileGrid.cover(*channels.shape, tile=tile, overlap=shared, alignment=alignment)
        found.changes.append(changes_of(channels, grid))
        labels, channels = mapped.compare(chip.labels, channels)
        known = (labels != NODATA_ID) & (channels != NODATA_ID)
        found.add(labels[known], channels[known], probabilities.max(axis=0)[known])
    return found


def changes_of(channels: ClassIndices, grid: TileGrid) -> Counts:
    """How often the class changes at the tile lines of a map and elsewhere, see `SeamScores`."""
    height, width = channels.shape
    inner = slice(0, height), slice(0, width)
    return count_changes(channels, inner, Window(0, 0, height, width), TileLines.of(grid))


def shrunk(chip: Chip, factor: int) -> Chip:
    """A chip with the mean of each square of pixels, and the commonest of their labels."""
    if factor == 1:
        return chip
    height, width = (side // factor * factor for side in chip.labels.shape)

    def squares(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        rows, cols, others = height // factor, width // factor, array.shape[:-2]
        cut = array[..., :height, :width].reshape(*others, rows, factor, cols, factor)
        return np.moveaxis(cut, -3, -2).reshape(*others, rows, cols, factor**2)

    labels = squares(chip.labels)
    found = np.unique(labels)
    votes = np.stack([(labels == value).sum(axis=-1) for value in found])
    return Chip(
        image=np.rint(squares(chip.image).mean(axis=-1)).astype(chip.image.dtype),
        valid=squares(chip.valid).all(axis=-1),
        labels=found[votes.argmax(axis=0)],
    )


def rows(model: Path | None, data: Path, places: tuple[str, ...]) -> Iterator[str]:
    """Lines of Markdown, one for each place."""
    loaded = load_model(find_model(model))
    classify = Predictor(loaded, torch.device("cpu"))
    shares = " | ".join(f"{share:.0%}" for share in COVERAGES)
    yield f"| place | Mpx | wrong of the surest {shares} | AURC | ideal |"
    yield "|---" * (len(COVERAGES) + 4) + "|"
    for place in places:
        found = measure(loaded, classify, data, place)
        sure = certainty_of(found.pixels[::-1], found.right[::-1])
        cells = " | ".join(f"{risk:.3f}" for risk in sure.risk.values())
        size = found.pixels.sum() / 1e6
        yield f"| {place} | {size:.1f} | {cells} | {sure.aurc:.3f} | {sure.ideal:.3f} |"


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--model", type=click.Path(path_type=Path))
@click.option("--place", "places", multiple=True, required=True, help="SOURCE.toml[:PATTERN]")
def main(data: Path, model: Path | None, places: tuple[str, ...]) -> None:
    """Print how many of the surest pixels are wrong in each PLACE."""
    for line in rows(model, data, places):
        click.echo(line)


if __name__ == "__main__":
    main()
