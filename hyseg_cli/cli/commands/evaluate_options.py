"""Options of the other ways to evaluate: by labelled sample points, and of probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from hyseg_cli.cli.options import FILE, default_of
from hyseg_cli.errors import UsageProblemError
from hyseg_cli.settings.calibrate import CalibrateSettings
from hyseg_cli.settings.sample import SampleEvaluationSettings

_Function = TypeVar("_Function", bound=Callable[..., Any])


def sample_options(function: _Function) -> _Function:
    """`--samples` and what goes with it."""
    for option in (
        click.option(
            "--design",
            metavar="FILE|stratified|random",
            help="How the points were drawn.  [default: the .design.json beside them]",
        ),
        click.option(
            "--field",
            default=default_of(SampleEvaluationSettings, "field"),
            show_default=True,
            help="Field of the reference class, a name or an id.",
        ),
        click.option(
            "--samples",
            type=FILE,
            help="Labelled points of `hyseg sample`: accuracy and area with 95 % intervals.",
        ),
    ):
        function = option(function)
    return function


def take_sample_options(options: dict[str, Any]) -> SampleEvaluationSettings | None:
    """Remove the options of `sample_options`; their settings if points were given.

    Raises:
        UsageProblemError: If points were given, but not one or two maps alone.
    """
    taken = {name: options.pop(name) for name in ("samples", "field", "design")}
    if taken["samples"] is None:
        return None
    if options["reference"] is not None or len(options["maps"]) not in (1, 2):
        raise UsageProblemError(
            "samples are held against one map, or two, without a reference",
            hint="Type hyseg evaluate MAP --samples points.gpkg, and leave out --reference.",
        )
    shared = {name: options[name] for name in ("legend", "report", "overwrite")}
    first, *others = options["maps"]
    return SampleEvaluationSettings(map=first, other=next(iter(others), None), **shared, **taken)


def calibration_options(function: _Function) -> _Function:
    """`--probabilities` and what goes with it."""
    for option in (
        click.option(
            "--calibrate",
            type=FILE,
            metavar="MODEL",
            help="Write the temperature fitted to the probabilities into the card of MODEL.",
        ),
        click.option(
            "--probabilities",
            type=FILE,
            help="Probabilities of the map: are they as often right as they say?",
        ),
    ):
        function = option(function)
    return function


def take_calibration_options(options: dict[str, Any]) -> CalibrateSettings | None:
    """Remove the options of `calibration_options`; their settings if probabilities were given.

    Raises:
        UsageProblemError: If what they need is missing.
    """
    taken = {name: options.pop(name) for name in ("probabilities", "calibrate")}
    if taken["probabilities"] is None:
        if taken["calibrate"] is not None:
            raise UsageProblemError(
                "--calibrate needs probabilities to fit a temperature to",
                hint="Add --probabilities P.tif, as `hyseg predict` writes it.",
            )
        return None
    if options["reference"] is None:
        raise UsageProblemError(
            "--probabilities are held against a reference raster",
            hint="Add --reference truth.tif.",
        )
    return CalibrateSettings(reference=options["reference"], legend=options["legend"], **taken)
