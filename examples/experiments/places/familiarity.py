"""How unlike a data set of the training is to the others, window by window.

    python familiarity.py DATA

DATA is the folder below which the sources lie. Each of the four data sets is left out in turn: its
windows are compared with those of the other three, as `hyseg predict` compares windows of a scene,
in units of what held-out places of the other three seldom exceed.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from torch import Tensor

from hyseg_cli.learn.inference.predictor import Predictor
from hyseg_cli.learn.model.applicability import Applicability
from hyseg_cli.learn.model.locate import find_model
from hyseg_cli.learn.model.weights import load_model
from hyseg_cli.messages import Silence
from hyseg_cli.settings.source import read_sources
from hyseg_cli.settings.train import TrainSettings
from hyseg_cli.workflows.train.looks import Looking
from hyseg_cli.workflows.train.scenes import open_training_scenes

SOURCES = Path(__file__).parents[2] / "sources"
LEGEND = SOURCES.parent / "land_cover.legend.json"
SETS = {
    "dubai": (("dubai",), ("dubai/Tile [23]*",)),
    "ohio": (("ohio", "ohio_false_colours"), ("ohio*/strip 1",)),
    "california": (("california", "california_false_colours"), ("california*/[lp]*",)),
    "west_virginia": (("west_virginia", "west_virginia_false_colours"), ()),
}
"""The sources of each data set, and what the training of the built-in model held out of it."""


def looks(name: str, data: Path, looking: Looking) -> tuple[Tensor, Tensor]:
    """Looks (n, C) of the scenes of a data set that are learned, and of those held out."""
    sources, held_out = SETS[name]
    settings = TrainSettings(
        out=Path("unused.safetensors"),
        root=data,
        sources=tuple(read_sources([SOURCES / f"{source}.toml" for source in sources], data)),
        legend=LEGEND,
        val_scenes=held_out,
        sampling="classes",
    )
    scenes = open_training_scenes(settings, Silence())
    return looking.at(scenes.training), looking.at(scenes.validation)


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
def main(data: Path) -> None:
    """Print how unlike each data set below DATA is to the others."""
    model = load_model(find_model(None))
    device = torch.device("cpu")
    standardise = Predictor(model, device).standardise
    looking = Looking(model.network, standardise, model.card, device, Silence())
    found = {name: looks(name, data, looking) for name in SETS}
    click.echo("| left out | windows | median | above 1 | held-out places of the others |")
    click.echo("|---|---|---|---|---|")
    for left_out, own in found.items():
        others = [pair for name, pair in found.items() if name != left_out]
        training, held_out = (torch.cat(parts) for parts in zip(*others, strict=True))
        known = Applicability.learned(training, held_out)
        if known is None:
            message = "the data sets have too few windows"
            raise click.ClickException(message)
        unlike, usual = known.dissimilarity(torch.cat(own)), known.dissimilarity(held_out)
        share = float((unlike > 1.0).float().mean())
        click.echo(
            f"| {left_out} | {len(unlike)} | {float(unlike.median()):.2f} | {share:.0%} | "
            f"{float(usual.median()):.2f} |"
        )


if __name__ == "__main__":
    main()
