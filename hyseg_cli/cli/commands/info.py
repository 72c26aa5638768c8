"""`hyseg info` on the command line."""

from __future__ import annotations

import json
from typing import Any

import click

from hyseg_cli.cli.options import (
    FILE,
    HysegCommand,
    bands_option,
    console,
    model_option,
    print_result,
)
from hyseg_cli.settings.info import InfoSettings
from hyseg_cli.startup import loading


@click.command(cls=HysegCommand)
@click.argument("path", required=False, shell_complete=FILE.shell_complete)
@model_option
@bands_option
@click.option("--images", type=FILE, help="Measure a model's prior on images: folder or file.")
@click.option("--labels", type=FILE, help="Labels of these images, as for training.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--all", "is_whole", is_flag=True, help="Show all that is known of a model.")
@click.option("--stac", is_flag=True, help="Print the STAC Item of a model, as JSON.")
def info(*, as_json: bool, is_whole: bool, stac: bool, **options: Any) -> None:
    """Describe PATH: a scene, a map or a model, whichever its content shows.

    For a scene: location, bands, storage, whether it fits the model, and the size of the work; with
    --model, exit with 4 if it does not fit. For a map: classes with their areas. For a model, a
    file or a name: its classes, training data and cost; with --all also legend and configuration;
    with --images and --labels, how good its prior is. Without PATH, the built-in model.
    """
    with loading():
        from hyseg_cli.workflows.info import run as workflow
        from hyseg_cli.workflows.info.scene import SceneInfo

    settings = InfoSettings(**options)
    with console() as messages:
        if stac:
            from hyseg_cli.workflows.info import model_stac as model_item

            print_result(json.dumps(model_item.run(settings), indent=2, allow_nan=False))
            return
        result = workflow.run(settings, messages)
    if as_json:
        print_result(json.dumps(result.to_dict()))
    elif isinstance(result, workflow.ModelInfo) and not is_whole:
        print_result(result.to_summary())
        print_result("--all shows the legend's colours, costs and configuration.")
    else:
        print_result(result.to_text())
    if settings.model is not None and isinstance(result, SceneInfo):
        result.require_fit()
