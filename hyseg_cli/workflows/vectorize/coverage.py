"""From a class raster to a file of polygons: open, sieve, trace, write, describe, put in place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hyseg_cli.errors import HysegError
from hyseg_cli.geo.classes.raster import ClassRaster
from hyseg_cli.geo.classes.styles import ClassStyle, class_styles, name_of, named_ids
from hyseg_cli.geo.coverage.proof import Proof
from hyseg_cli.geo.coverage.raster import RasterRows, write_rows
from hyseg_cli.geo.crs import crs_text
from hyseg_cli.geo.output.cog import keep_crs, put_in_place
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
from hyseg_cli.geo.output.work_folder import WorkFolder
from hyseg_cli.geo.raster.gdal import gdal_env
from hyseg_cli.geo.raster.raster import Raster, open_raster
from hyseg_cli.geo.suffixes import STAC_SUFFIX
from hyseg_cli.geo.vector.features import Summary
from hyseg_cli.geo.vector.formats import FORMATS
from hyseg_cli.geo.vector.writer import LayerWriter
from hyseg_cli.legend import read_legend
from hyseg_cli.messages import Messages
from hyseg_cli.settings.vectorize import VectorizeSettings
from hyseg_cli.workflows.outputs import write_text
from hyseg_cli.workflows.vectorize.polygons import PolygonJob

CACHE_MIB = 64
"""A strip of 256 rows is half a block row: the other half must stay cached for the next one. This
holds block rows of 512 in 8 bits up to 130,000 columns."""


@dataclass(frozen=True)
class VectorizeResult:
    """Summary of the written layer."""

    files: list[Path]
    summary: Summary
    styles: Mapping[int, ClassStyle]
    merged: int
    """Regions that were absorbed by neighbours."""
    proof: Proof | None
    """The successful check."""

    def to_dict(self) -> dict[str, Any]:
        """The summary, ready for JSON."""
        classes = [
            {
                "class_id": class_id,
                "class_name": name_of(class_id, self.styles),
                "pixels": pixels,
                "area_m2": self.summary.area_m2_by_class[class_id],
            }
            for class_id, pixels in sorted(self.summary.pixels_by_class.items())
        ]
        return {
            "out": [str(file) for file in self.files],
            "polygons": self.summary.polygons,
            "vertices": self.summary.vertices,
            "merged": self.merged,
            "classes": classes,
            "check": None if self.proof is None else self.proof.to_dict(),
        }


def vectorize_map(
    settings: VectorizeSettings, messages: Messages, writer: LayerWriter
) -> VectorizeResult:
    """Turn a class raster into a coverage of polygons, strip by strip; see `vectorize.run`."""
    scene = open_raster(settings.map)
    styles = class_styles(scene, read_legend(settings.legend) if settings.legend else None)
    with (
        gdal_env(CACHE_MIB),
        ClassRaster(scene, named=named_ids(styles)) as raster,
        RasterRows(raster) as rows,
        WorkFolder(settings.out).scratch() as work,
        WorkFolder(settings.sieve_out).scratch() if settings.sieve_out else nullcontext() as sieved,
    ):
        job = PolygonJob(settings, scene, styles, messages, writer, work)
        source, regions, merged = job.find_regions(rows)
        if len(regions) == 0:
            raise HysegError(f"{scene.path} holds no class", hint="All of its pixels are nodata.")
        if settings.sieve_out is not None and sieved is not None:
            write_rows(source, raster, sieved / settings.sieve_out.name)
            if scene.crs is not None:
                keep_crs(sieved / settings.sieve_out.name, scene.crs)
        files, summary, proof = job.write(source, regions)
        if settings.sieve_out is not None and sieved is not None:
            kept = [str(file.resolve()) for file in files]
            put_in_place(sieved / settings.sieve_out.name, settings.sieve_out, kept=kept)
        result = VectorizeResult(files, summary, styles, merged, proof)
        if settings.stac:
            files.append(write_polygon_item(scene, settings, result))
        return result


def write_polygon_item(scene: Raster, settings: VectorizeSettings, result: VectorizeResult) -> Path:
    """Write an Item beside finished polygons, and return its path.

    Args:
        scene: The map, which gives the Item its location and time.
        settings: The settings of the run.
        result: What was written.

    Raises:
        HysegError: If it cannot be written.
    """
    out = settings.out.with_name(settings.out.name + STAC_SUFFIX)
    form = FORMATS[settings.out.suffix.lower()]
    crs = form.crs or settings.dst_crs or (scene.crs and crs_text(scene.crs))
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
        description += " The map does not record when its scene was taken, so datetime is now."
    values = result.to_dict()
    item = make_item(
        settings.out.stem,
        scene=scene,
        properties={
            "datetime": format_time(taken or now),
            "created": format_time(now),
            "description": description,
            "hyseg:polygons": values["polygons"],
            "hyseg:classes": values["classes"],
            **({} if crs is None else crs_fields(crs)),
        },
        assets=assets,
        links=[{"rel": "derived_from", "href": link_to(settings.map, out.parent)}],
        extensions=(FILE,) if crs is None else (PROJECTION, FILE),
    )
    write_text(out, json.dumps(item, indent=2, allow_nan=False) + "\n")
    return out
