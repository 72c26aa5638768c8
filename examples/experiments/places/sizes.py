"""How accurate a model is by the size of the pixels: places whose pixels are made larger.

    python sizes.py DATA --place "examples/sources/ohio.toml:strip 1" --shrink 1 --shrink 2

DATA is the folder below which the sources lie; see `certainty.py` for places. Images are averaged,
and each new pixel has the commonest label of those that it covers, so small things vanish from the
labels, too. With --into, the means over the places go into the card of a model file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import click
import torch
from certainty import measure

from hyseg_cli.learn.inference.predictor import Predictor
from hyseg_cli.learn.model.card import read_card
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.learn.model.weights import load_model, replace_card
from hyseg_cli.learn.scores.metrics import Scores

Sized = dict[int, list[Scores]]


def scores_by_size(
    model: Path | None,
    data: Path,
    places: tuple[str, ...],
    factors: tuple[int, ...],
    *,
    native: bool = False,
) -> Sized:
    """The scores of the places, in their order, by how many times as large pixels are."""
    loaded = load_model(find_model(model))
    classify = Predictor(loaded, torch.device("cpu"))
    return {
        factor: [
            Scores.of(
                measure(loaded, classify, data, place, shrink=factor, native=native).confusion
            )
            for place in places
        ]
        for factor in factors
    }


def rows(found: Sized, places: tuple[str, ...]) -> Iterator[str]:
    """Lines of Markdown: mean IoU and overall accuracy, a column for each size."""
    yield f"| place | {' | '.join(f'{factor} x' for factor in found)} |"
    yield "|---" * (len(found) + 1) + "|"
    for index, place in enumerate(places):
        of_place = (scores[index] for scores in found.values())
        cells = (f"{one.mean_iou:.3f} / {one.overall_accuracy:.3f}" for one in of_place)
        yield f"| {place} | {' | '.join(cells)} |"


def keep(found: Sized, metres: float, model: Path) -> None:
    """Write the means over the places into a card; `metres` is the size of their pixels."""
    by_size = [
        {
            "metres": factor * metres,
            "miou": fmean(float(one.mean_iou) for one in scores),
            "overall_accuracy": fmean(float(one.overall_accuracy) for one in scores),
        }
        for factor, scores in found.items()
    ]
    card = read_card(model)
    replace_card(model, replace(card, metrics=card.metrics | {"by_pixel_size": by_size}))


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--model", type=click.Path(path_type=Path))
@click.option("--place", "places", multiple=True, required=True, help="SOURCE.toml[:PATTERN]")
@click.option("--shrink", "factors", multiple=True, type=int, default=(1, 2, 4, 8))
@click.option("--native", is_flag=True, help="Show the network the pixels as they are.")
@click.option("--into", type=click.Path(path_type=Path), help="Model file whose card is changed.")
@click.option("--metres", type=float, default=0.6, help="Size of the pixels as they are.")
def main(
    data: Path,
    model: Path | None,
    places: tuple[str, ...],
    factors: tuple[int, ...],
    into: Path | None,
    metres: float,
    *,
    native: bool,
) -> None:
    """Print mean IoU and overall accuracy of each PLACE by the size of its pixels."""
    found = scores_by_size(model, data, places, factors, native=native)
    click.echo("\n".join(rows(found, places)))
    if into is not None:
        keep(found, metres, into)


if __name__ == "__main__":
    main()
