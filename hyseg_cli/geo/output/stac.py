"""STAC Items: descriptions of files for catalogues, as plain JSON.

The fields are those of STAC 1.1 and of the versions of its extensions given here.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyproj

from hyseg_cli.geo.crs import crs_text
from hyseg_cli.geo.raster.ground import footprint
from hyseg_cli.geo.raster.raster import Raster, open_dataset
from hyseg_cli.legend import NODATA_ID, Legend, format_color

STAC_VERSION = "1.1.0"
_EXTENSIONS = "https://stac-extensions.github.io"
PROJECTION = f"{_EXTENSIONS}/projection/v2.0.0/schema.json"
FILE = f"{_EXTENSIONS}/file/v2.1.0/schema.json"
RASTER = f"{_EXTENSIONS}/raster/v2.0.0/schema.json"
CLASSIFICATION = f"{_EXTENSIONS}/classification/v2.0.0/schema.json"
MACHINE_LEARNING_MODEL = f"{_EXTENSIONS}/mlm/v1.4.0/schema.json"

TIFF_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
SHA256 = "1220"
"""Begins a multihash: SHA-256, of 32 bytes."""

TAKEN_TAGS = ("ACQUISITIONDATETIME", "EXIF_DateTimeOriginal", "TIFFTAG_DATETIME")
"""Tags that say when a raster was taken, the most reliable first."""
_TIME_FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y:%m:%d %H:%M:%S")

Json = dict[str, Any]


def make_item(
    name: str,
    *,
    scene: Raster | None,
    properties: Mapping[str, Any],
    assets: Mapping[str, Json],
    links: Sequence[Json] = (),
    extensions: Sequence[str],
) -> Json:
    """A STAC Item.

    Args:
        name: Its id.
        scene: A raster whose footprint is that of the Item; None for no location.
        properties: Among them datetime, or its beginning and end.
        assets: Files by name.
        links: Links to others.
        extensions: Addresses of the extensions that define the fields.
    """
    place = None if scene is None else footprint(scene)
    item: Json = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": list(extensions),
        "id": name,
        "geometry": None if place is None else place[0],
        "properties": dict(properties),
        "links": list(links),
        "assets": dict(assets),
    }
    return item if place is None else item | {"bbox": place[1]}


def projection_fields(scene: Raster) -> Json:
    """Size, transform and CRS of a raster."""
    fields: Json = {"proj:shape": [scene.height, scene.width]}
    if not scene.is_georeferenced or scene.crs is None:
        return fields
    fields["proj:transform"] = [float(value) for value in scene.transform[:6]]
    return fields | crs_fields(crs_text(scene.crs))


def crs_fields(wanted: str) -> Json:
    """The code of a CRS, given as code or WKT; all of it if it has none."""
    crs = pyproj.CRS.from_user_input(wanted)
    authority = crs.to_authority(min_confidence=100)
    if authority is None:
        return {"proj:code": None, "proj:wkt2": crs.to_wkt("WKT2_2019")}
    return {"proj:code": ":".join(authority)}


def file_fields(path: Path) -> Json:
    """Size and checksum of a file; reads the file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file:size": path.stat().st_size, "file:checksum": SHA256 + digest}


def class_objects(legend: Legend, pixels: npt.NDArray[np.int64] | None = None) -> list[Json]:
    """The classes of a raster.

    Args:
        legend: Them.
        pixels: How many pixels have each value, (256,), for a raster; it has nodata, too.
    """
    classes: list[Json] = [
        {
            "value": entry.id,
            "name": _short(entry.name) or f"class-{entry.id}",
            "title": entry.name,
            "color_hint": format_color(entry.color).removeprefix("#").upper(),
        }
        for entry in legend.classes
    ]
    if pixels is None:
        return classes
    classes.append({"value": NODATA_ID, "name": "nodata", "title": "no data", "nodata": True})
    total = max(1, int(pixels.sum()))
    for entry in classes:
        count = int(pixels[entry["value"]])
        entry |= {"count": count, "percentage": round(100.0 * count / total, 6)}
    return classes


def _short(name: str) -> str:
    """A name with only those letters that the extension allows."""
    return re.sub(r"[^0-9A-Za-z_-]+", "-", name).strip("-")


def link_to(path: Path, base: Path) -> str:
    """The address of a file as seen from the folder of an Item."""
    try:
        relative = os.path.relpath(path.absolute(), base.absolute())
    except ValueError:  # another drive
        return path.absolute().as_uri()
    quoted = quote(Path(relative).as_posix())
    return quoted if quoted.startswith("../") else f"./{quoted}"


def time_taken(path: str) -> datetime | None:
    """When a scene was taken, if its tags say so; times without zone count as UTC.

    Raises:
        HysegError: If it cannot be opened.
    """
    with open_dataset(path) as dataset:
        tags = dataset.tags() | dataset.tags(ns="IMAGERY")
    for tag in TAKEN_TAGS:
        for form in _TIME_FORMATS:
            try:
                return datetime.strptime(tags.get(tag, "").strip()[:19], form).replace(tzinfo=UTC)
            except ValueError:
                continue
    return None


def format_time(time: datetime) -> str:
    """As RFC 3339 has it, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
