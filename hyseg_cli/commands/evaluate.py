"""`hyseg evaluate` on the command line."""

from __future__ import annotations

import json
from typing import Any

import click

from hyseg_cli.commands.evaluate_options import sample_options, take_sample_options
from hyseg_cli.console import Console
from hyseg_cli.options import (
    FILE,
    HysegCommand,
    is_quiet,
    print_result,
)
from hyseg_cli.settings import EvaluateSettings


@click.command(cls=HysegCommand)
@click.argument("map", type=FILE)
@click.option("--reference", type=FILE, help="Raster of the true class ids.")
@click.option("--legend", type=FILE, help="Legend of both.  [default: the map's own]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@sample_options
def evaluate(*, as_json: bool, **options: Any) -> None:
    """Compare MAP with a reference, pixel by pixel on the grid of the map.

    With --samples, estimate its accuracy and the area of its classes from labelled points.
    """
    from hyseg_cli.workflows import evaluate as by_pixels
    from hyseg_cli.workflows import evaluate_samples as by_samples

    samples = take_sample_options(options)
    result: Any
    with Console(quiet=is_quiet()) as report:
        if samples is not None:
            result = by_samples.run(samples, report)
        else:
            result = by_pixels.run(EvaluateSettings(**options), report)
    if as_json:
        print_result(json.dumps(result.to_dict()))
    else:
        print_result(result.to_table())
