"""A STAC Item for the outputs of `hyseg predict`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hyseg_cli.geo.classes.counts import Tally
from hyseg_cli.geo.output.cog import SHARE_LEVELS
from hyseg_cli.geo.output.sidecar import SIDECAR_SUFFIX, class_statistics
from hyseg_cli.geo.output.stac import (
    CLASSIFICATION,
    FILE,
    PROJECTION,
    RASTER,
    TIFF_TYPE,
    class_objects,
    file_fields,
    format_time,
    link_to,
    make_item,
    projection_fields,
    time_taken,
)
from hyseg_cli.geo.raster.raster import Scene, open_scene
from hyseg_cli.geo.suffixes import STAC_SUFFIX
from hyseg_cli.legend import NODATA_ID
from hyseg_cli.workflows.predict.plan import Output, Plan

Json = dict[str, Any]

STYLE_TYPES = {".qml": "application/xml", ".sld": "application/vnd.ogc.sld+xml"}


def map_item(plan: Plan, cogs: Sequence[Path], tally: Tally) -> Json:
    """An Item for a map and what was written with it.

    Args:
        plan: The run.
        cogs: Its outputs, finished, under other names.
        tally: Pixels of the classes.
    """
    scene, folder = open_scene(cogs[0]), plan.beside[STAC_SUFFIX].parent
    assets = {}
    for output, cog in zip(plan.outputs, cogs, strict=True):
        asset = _raster(output, cog, scene, folder)
        if not output.spec.shares:
            asset["classification:classes"] = class_objects(plan.legend, tally.pixels)
            asset["bands"][0] |= _statistics(tally)
        assets[_name_of(output)] = asset
    sidecar = plan.out.with_name(plan.out.name + SIDECAR_SUFFIX)
    assets["attribute-table"] = _file(sidecar, folder, "application/xml", "metadata")
    for suffix, media in STYLE_TYPES.items():
        if suffix in plan.beside:
            name = f"style-{suffix.removeprefix('.')}"
            assets[name] = _file(plan.beside[suffix], folder, media, "style")
    return make_item(
        plan.out.stem,
        scene=scene,
        properties=_properties(plan) | projection_fields(scene),
        assets=assets,
        links=_links(plan, folder),
        extensions=(PROJECTION, FILE, RASTER, CLASSIFICATION),
    )


def _name_of(output: Output) -> str:
    if not output.spec.shares:
        return "map"
    return "probabilities" if len(output.spec.shares) > 1 else "confidence"


def _raster(output: Output, cog: Path, scene: Scene, folder: Path) -> Json:
    shared: Json = {"data_type": "uint8", "nodata": NODATA_ID}
    is_point = scene.tags.get("AREA_OR_POINT") == "Point"
    asset = _file(output.path, folder, TIFF_TYPE, "data") | file_fields(cog) | shared
    asset["raster:sampling"] = "point" if is_point else "area"
    resolution = scene.resolution_m()
    if resolution is not None:
        asset["raster:spatial_resolution"] = resolution
    if output.spec.shares:
        asset |= {"raster:scale": 1.0 / SHARE_LEVELS, "raster:offset": 0.0}
    asset["bands"] = [{"name": name} for name in output.spec.shares or ("class",)]
    return asset


def _statistics(tally: Tally) -> Json:
    found = class_statistics(tally.pixels)
    if found is None:
        return {}
    told = {"minimum": found.minimum, "maximum": found.maximum}
    return {"statistics": told | {"valid_percent": found.valid_percent}}


def _file(path: Path, folder: Path, media: str, role: str) -> Json:
    return {"href": link_to(path, folder), "type": media, "roles": [role]}


def _properties(plan: Plan) -> Json:
    now, taken = datetime.now(UTC), time_taken(plan.source)
    description = f"Land cover of {Path(plan.source).name}."
    if taken is None:
        description += " The scene does not tell when it was taken: datetime is that of the run."
    tags = plan.outputs[0].spec.tags
    told = ("VERSION", "MODEL", "MODEL_NAME", "DATA", "LICENCE", "ATTRIBUTION")
    return {
        "datetime": format_time(taken or now),
        "created": format_time(now),
        "description": description,
        "hyseg:settings": json.loads(tags["HYSEG_SETTINGS"]),
        **{f"hyseg:{key.lower()}": tags[f"HYSEG_{key}"] for key in told if tags[f"HYSEG_{key}"]},
    }


def _links(plan: Plan, folder: Path) -> list[Json]:
    """To the scene, if others can reach it by an address."""
    source = plan.source.removeprefix("/vsicurl/")
    if source.startswith(("http://", "https://")):
        return [{"rel": "derived_from", "href": source}]
    if Path(source).is_file():
        return [{"rel": "derived_from", "href": link_to(Path(source), folder)}]
    return []
