"""A STAC Item for the polygons of `hyseg vectorize`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hyseg_cli.geo.output.stac import (
    FILE,
    PROJECTION,
    crs_fields,
    file_fields,
    format_time,
    link_to,
    make_item,
    time_taken,
)
from hyseg_cli.geo.raster.raster import Scene
from hyseg_cli.geo.suffixes import STAC_SUFFIX
from hyseg_cli.geo.vector.formats import FORMATS
from hyseg_cli.settings.vectorize import VectorizeSettings
from hyseg_cli.workflows.outputs import write_text

if TYPE_CHECKING:
    from hyseg_cli.workflows.vectorize.coverage import VectorizeResult


def write_polygon_item(scene: Scene, settings: VectorizeSettings, result: VectorizeResult) -> Path:
    """Write an Item beside polygons that are in place, and return where.

    Args:
        scene: The map; the Item lies where it lies, and when.
        settings: What was asked for.
        result: What was written.

    Raises:
        HysegError: If it cannot be written.
    """
    out = settings.out.with_name(settings.out.name + STAC_SUFFIX)
    form = FORMATS[settings.out.suffix.lower()]
    crs = form.crs or settings.dst_crs or (scene.crs and scene.crs.to_wkt())
    assets = {
        "polygons" if len(result.files) == 1 else path.stem: {
            "href": link_to(path, out.parent),
            "type": form.media,
            "roles": ["data"],
            **file_fields(path),
        }
        for path in result.files
    }
    now, taken = datetime.now(UTC), time_taken(scene.path)
    description = f"Land-cover polygons of {settings.map.name}."
    if taken is None:
        description += " The map does not tell when its scene was taken: datetime is now."
    told = result.to_dict()
    item = make_item(
        settings.out.stem,
        scene=scene,
        properties={
            "datetime": format_time(taken or now),
            "created": format_time(now),
            "description": description,
            "hyseg:polygons": told["polygons"],
            "hyseg:classes": told["classes"],
            **({} if crs is None else crs_fields(crs)),
        },
        assets=assets,
        links=[{"rel": "derived_from", "href": link_to(settings.map, out.parent)}],
        extensions=(FILE,) if crs is None else (PROJECTION, FILE),
    )
    write_text(out, json.dumps(item, indent=2, allow_nan=False) + "\n")
    return out
