"""`hyseg evaluate` on the command line."""

from __future__ import annotations

import json
from typing import Any

import click

from hyseg_cli.commands.evaluate_options import (
    calibration_options,
    sample_options,
    take_calibration_options,
    take_sample_options,
)
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
@calibration_options
def evaluate(*, as_json: bool, **options: Any) -> None:
    """Compare MAP with a reference, pixel by pixel on the grid of the map.

    With --samples, estimate its accuracy and the area of its classes from labelled points.
    """
    probabilities = take_calibration_options(options)
    samples = take_sample_options(options)
    result: Any
    calibration = None
    with Console(quiet=is_quiet()) as report:
        if samples is not None:
            from hyseg_cli.workflows import evaluate_samples

            result = evaluate_samples.run(samples, report)
        else:
            from hyseg_cli.workflows import evaluate as workflow

            result = workflow.run(EvaluateSettings(**options), report)
        if probabilities is not None:
            from hyseg_cli.workflows import calibrate

            calibration = calibrate.run(probabilities, report)
    if as_json:
        values = result.to_dict()
        if calibration is not None:
            values["calibration"] = calibration.to_dict()
        print_result(json.dumps(values))
        return
    print_result(result.to_table())
    if calibration is not None:
        print_result("\n" + calibration.to_table())
