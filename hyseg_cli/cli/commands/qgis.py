"""`hyseg qgis` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hyseg_cli.cli.options import (
    HysegCommand,
    HysegGroup,
    out_option,
    overwrite_option,
    print_result,
)


@click.group(cls=HysegGroup, short_help="The plugin for QGIS.")
def qgis() -> None:
    """The plugin for QGIS: hyseg in its Processing toolbox.

    \b
      hyseg qgis install                     into QGIS's default profile
      hyseg qgis zip --out hyseg_qgis.zip    for Plugins > Install from ZIP
    """  # noqa: D301 - click looks for the character, not for its name


_profile = click.option(
    "--profile",
    metavar="NAME|FOLDER",
    help="User profile of QGIS.  [default: default]",
)


@qgis.command(cls=HysegCommand)
@_profile
@click.option(
    "--enable/--no-enable",
    default=True,
    show_default=True,
    help="Also enable the plugin in the settings of the profile; close QGIS before.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def install(*, profile: str | None, enable: bool, as_json: bool) -> None:
    """Copy the plugin into a profile of QGIS, where it runs this hyseg."""
    from hyseg_cli.workflows import qgis as workflow

    result = workflow.install(profile, enable=enable)
    print_result(json.dumps(result.to_dict()) if as_json else result.to_text())


@qgis.command(cls=HysegCommand)
@_profile
def uninstall(*, profile: str | None) -> None:
    """Remove the plugin from a profile of QGIS."""
    from hyseg_cli.workflows import qgis as workflow

    print_result(f"{workflow.uninstall(profile)} removed")


@qgis.command("zip", cls=HysegCommand)
@out_option("The archive (.zip).")
@click.option("--home", metavar="URL", help="Public repository, which plugins.qgis.org asks for.")
@click.option("--email", help="Address of the publisher, which plugins.qgis.org asks for.")
@overwrite_option
def zip_(*, out: Path, home: str | None, email: str | None, overwrite: bool) -> None:
    """Pack the plugin for another machine or for plugins.qgis.org.

    A plugin from a zip finds hyseg by its setting in QGIS, the variable HYSEG, or PATH.
    """
    from hyseg_cli.workflows import qgis as workflow
    from hyseg_cli.workflows.outputs import require_free

    require_free(out, overwrite=overwrite)
    print_result(str(workflow.write_zip(out, home=home, email=email)))
