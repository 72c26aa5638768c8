"""`hyseg check` on the command line."""

from __future__ import annotations

import json

import click

from hyseg_cli.cli.options import HysegCommand, print_result

CHECK_FAILED = 5


@click.command(cls=HysegCommand)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def check(ctx: click.Context, /, *, as_json: bool) -> None:
    """Show the parts of this installation and whether they work.

    Versions, memory, GPUs, GDAL, PROJ, models and scratch space: paste it into a bug report.
    Exits with 5 if a part does not work.
    """
    from hyseg_cli.workflows.info.check import run

    found = run()
    print_result(json.dumps(found.to_dict()) if as_json else found.to_text())
    if not found.is_ok:
        ctx.exit(CHECK_FAILED)
