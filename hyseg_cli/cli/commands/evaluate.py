"""`hyseg evaluate` on the command line.

Also the options for labelled sample points and for probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from hyseg_cli.cli.options import (
    FILE,
    HysegCommand,
    bands_option,
    class_field_option,
    console,
    default_of,
    device_option,
    gsd_option,
    model_option,
    overwrite_option,
    print_result,
)
from hyseg_cli.errors import UsageProblemError
from hyseg_cli.settings.choices import Benchmark, BenchmarkPart
from hyseg_cli.settings.evaluate import CalibrateSettings, EvaluateSettings
from hyseg_cli.settings.sample import SampleEvaluationSettings
from hyseg_cli.settings.source import SourceSettings, read_sources
from hyseg_cli.startup import loading

_Function = TypeVar("_Function", bound=Callable[..., Any])


def sample_options(function: _Function) -> _Function:
    """`--samples` and its options."""
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
            "samples are compared with one map, or two, without a reference",
            hint="Type hyseg evaluate MAP --samples points.gpkg, and leave out --reference.",
        )
    shared = {name: options[name] for name in ("legend", "report", "overwrite")}
    first, *others = options["maps"]
    return SampleEvaluationSettings(map=first, other=next(iter(others), None), **shared, **taken)


def calibration_options(function: _Function) -> _Function:
    """`--probabilities` and its options."""
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
            help="Probabilities of the map, to check how often they are right.",
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
            "--probabilities are compared with a reference raster",
            hint="Add --reference truth.tif.",
        )
    return CalibrateSettings(reference=options["reference"], legend=options["legend"], **taken)


@click.command(cls=HysegCommand)
@click.argument("maps", type=FILE, nargs=-1, metavar="[MAP [OTHER]]")
@click.option(
    "--reference", type=FILE, help="The truth: a raster of class ids or colours, or polygons."
)
@click.option(
    "--legend", type=FILE, help="Names and colours of the map's classes.  [default: the map's own]"
)
@click.option(
    "--reference-legend",
    type=FILE,
    help="Legend of the reference.  [default: its own, else the map's]",
)
@class_field_option(EvaluateSettings)
@click.option(
    "--map-classes",
    type=FILE,
    metavar="JSON",
    help='Classes to rename and so to merge, such as {"lane": "road"}; null leaves one out.',
)
@click.option(
    "--exclude", multiple=True, metavar="CLASS", help="Leave a class out of the means; repeat."
)
@click.option(
    "--structure",
    is_flag=True,
    help="Also measure lines, pieces, holes and boundaries; slower. Needs hyseg[structure].",
)
@click.option(
    "--boundary",
    default=default_of(EvaluateSettings, "boundary"),
    show_default=True,
    help="Width of boundary bands and tolerance of contours, in px or m.",
)
@click.option(
    "--patch-size",
    default=default_of(EvaluateSettings, "patch_size"),
    show_default=True,
    help="Side in pixels of the patches for structure and intervals.",
)
@click.option("--kappa", is_flag=True, help="Also print Cohen's kappa, with its caveats.")
@click.option("--images", type=FILE, help="Evaluate a model on images: their folder or file.")
@click.option("--labels", type=FILE, help="Labels of the images, as for training.")
@click.option(
    "--benchmark",
    type=click.Choice(get_args(Benchmark)),
    help="Evaluate a model on a published data set, by its protocol.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    type=click.UNPROCESSED,
    metavar="[NAME=]TOML",
    help="Evaluate a model on a source of `hyseg train --source`, in what its labels can say.",
)
@click.option(
    "--root", type=FILE, help="Folder below which the benchmark or the source was unpacked."
)
@click.option(
    "--split",
    type=click.Choice(get_args(BenchmarkPart)),
    default=default_of(EvaluateSettings, "split"),
    show_default=True,
    help="Part of the benchmark.",
)
@model_option
@bands_option
@gsd_option(EvaluateSettings)
@click.option(
    "--tile-size",
    type=int,
    help="Side of a tile in pixels of the network, a multiple of 32.  "
    "[default: 512, or that of the training chips if larger]",
)
@click.option(
    "--overlap",
    type=int,
    help="Pixels that neighbouring tiles share, a multiple of 32.  "
    "[default: a quarter, at most 128]",
)
@click.option(
    "--batch-size",
    default=default_of(EvaluateSettings, "batch_size"),
    show_default=True,
    help="Tiles that run through the network at once on a GPU.",
)
@device_option(EvaluateSettings)
@click.option(
    "--seed",
    default=default_of(EvaluateSettings, "seed"),
    show_default=True,
    help="Seed of the prior's noise, which depends on the location, not on the tile.",
)
@click.option(
    "--fail-under",
    multiple=True,
    metavar="METRIC=VALUE",
    help="Exit with 5 if a score is lower than this, such as miou=0.6 or iou.road=0.4; repeat.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--csv", type=FILE, help="Also write all scores to a table.")
@click.option(
    "--report",
    type=FILE,
    metavar="HTML",
    help="Also write a page with scores, charts, pictures and the worst places.",
)
@sample_options
@calibration_options
@overwrite_option
def evaluate(*, as_json: bool, **options: Any) -> None:
    """Compare MAP with a reference, or two maps with each other, on the grid of the first.

    With --samples, estimate the accuracy of MAP and the area of its classes from labelled points,
    or test whether two maps differ at them;
    with --images and --labels, measure a model.
    """
    probabilities = take_calibration_options(options)
    samples = take_sample_options(options)
    with console() as messages:
        if samples is not None:
            if samples.other is not None:
                from hyseg_cli.workflows.evaluate.samples import compare_maps

                both = compare_maps(samples, samples.other, messages)
                print_result(json.dumps(both.to_dict()) if as_json else both.to_table())
                return
            from hyseg_cli.workflows.evaluate import samples as evaluate_samples

            estimates = evaluate_samples.run(samples, messages)
            if samples.report is not None:
                from hyseg_cli.report.evaluation import write_samples

                write_samples(samples.report, samples, estimates)
            print_result(json.dumps(estimates.to_dict()) if as_json else estimates.to_table())
            return
        with loading():
            from hyseg_cli.workflows.evaluate import run as workflow
            from hyseg_cli.workflows.evaluate import tables
            from hyseg_cli.workflows.evaluate.pictures import Gallery

        options["source"] = _one_source(options.pop("sources"), options["root"])
        settings = EvaluateSettings(**options)
        gallery = None if settings.report is None else Gallery()
        result = workflow.run(settings, messages, gallery)
        calibration = None
        if probabilities is not None:
            from hyseg_cli.workflows.evaluate import calibrate

            calibration = calibrate.run(probabilities, messages)
    if settings.report is not None and gallery is not None:
        from hyseg_cli.report.evaluation import write_evaluation

        write_evaluation(settings.report, settings, result, gallery, calibration)
    if settings.csv is not None:
        tables.write_csv(settings.csv, result, kappa=settings.kappa)
    if as_json:
        values = tables.to_dict(result, kappa=settings.kappa)
        if calibration is not None:
            values["calibration"] = calibration.to_dict()
        print_result(json.dumps(values))
    else:
        print_result(tables.to_text(result, kappa=settings.kappa))
        if calibration is not None:
            print_result("\n" + calibration.to_table())
    workflow.check_thresholds(settings, tables.evaluations_of(result))


def _one_source(typed: Sequence[Any], root: Path | None) -> SourceSettings | None:
    """The source to evaluate on; None if none was named.

    Raises:
        UsageProblemError: If several were named, or the file does not describe a source.
    """
    if len(typed) > 1:
        raise UsageProblemError(
            f"--source was given {len(typed)} times", hint="Evaluate on one source at a time."
        )
    return read_sources(typed, root)[0] if typed else None
