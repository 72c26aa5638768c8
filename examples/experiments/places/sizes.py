"""How accurate a model is by the size of the pixels: places whose pixels are made larger.

    python sizes.py DATA --place "examples/sources/ohio.toml:strip 1" --shrink 1 --shrink 2

DATA is the folder below which the sources lie; see `certainty.py` for places. Images are averaged,
and each new pixel has the commonest label of those that it covers, so small things vanish from the
labels, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import torch
from certainty import measure

from hyseg_cli.learn.inference.predictor import Predictor
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.learn.model.weights import load_model
from hyseg_cli.learn.scores.metrics import Scores


def rows(
    model: Path | None, data: Path, places: tuple[str, ...], factors: tuple[int, ...]
) -> Iterator[str]:
    """Lines of Markdown: mean IoU and overall accuracy, a column for each size."""
    loaded = load_model(find_model(model))
    classify = Predictor(loaded, torch.device("cpu"))
    yield f"| place | {' | '.join(f'{factor} x' for factor in factors)} |"
    yield "|---" * (len(factors) + 1) + "|"
    for place in places:
        found = (
            Scores.of(measure(loaded, classify, data, place, shrink=factor).confusion)
            for factor in factors
        )
        cells = (f"{one.mean_iou:.3f} / {one.overall_accuracy:.3f}" for one in found)
        yield f"| {place} | {' | '.join(cells)} |"


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--model", type=click.Path(path_type=Path))
@click.option("--place", "places", multiple=True, required=True, help="SOURCE.toml[:PATTERN]")
@click.option("--shrink", "factors", multiple=True, type=int, default=(1, 2, 4, 8))
def main(data: Path, model: Path | None, places: tuple[str, ...], factors: tuple[int, ...]) -> None:
    """Print mean IoU and overall accuracy of each PLACE by the size of its pixels."""
    for line in rows(model, data, places, factors):
        click.echo(line)


if __name__ == "__main__":
    main()
