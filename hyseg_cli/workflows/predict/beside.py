"""What stands beside the rasters of a run: side-cars and styles."""

from __future__ import annotations

from pathlib import Path

from hyseg_cli.geo.classes.counts import Tally
from hyseg_cli.geo.classes.styles import styles_of
from hyseg_cli.geo.classes.symbology import to_raster_qml, to_raster_sld
from hyseg_cli.geo.output.sidecar import (
    SIDECAR_SUFFIX,
    share_statistics,
    sidecar_of_classes,
    sidecar_of_shares,
)
from hyseg_cli.workflows.predict.plan import Output, Plan


def files_beside(plan: Plan, output: Output, cog: Path, tally: Tally) -> dict[Path, str]:
    """Texts of the files that belong beside an output.

    Args:
        plan: The run.
        output: One of its outputs.
        cog: The raster, finished, under another name.
        tally: Pixels and areas of the classes.
    """
    sidecar = output.path.with_name(output.path.name + SIDECAR_SUFFIX)
    if output.spec.shares:
        return {sidecar: sidecar_of_shares(share_statistics(str(cog)))}
    hectares = tally.area_m2 / 1e4 if plan.has_area else None
    return {sidecar: sidecar_of_classes(plan.legend, tally.pixels, hectares)} | _styles(plan)


def _styles(plan: Plan) -> dict[Path, str]:
    styles = styles_of(plan.legend)
    made = {".qml": to_raster_qml(styles), ".sld": to_raster_sld(styles, plan.out.stem)}
    return {plan.beside[suffix]: text for suffix, text in made.items() if suffix in plan.beside}
