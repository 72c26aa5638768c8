"""The CRS that polygons are written in.

pyproj takes as long to load as a small map takes to trace, so only those who need it wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.geo.raster.raster import Scene
from hyseg_cli.geo.vector.formats import VectorFormat

if TYPE_CHECKING:
    import pyproj


def crs_to_transform_to(
    scene: Scene, form: VectorFormat, asked_for: str | None
) -> pyproj.CRS | None:
    """The CRS that polygons of a map have to be transformed to, None if they keep the map's.

    Args:
        scene: The map.
        form: The format of the layer, which may prescribe one.
        asked_for: What --dst-crs says.

    Raises:
        UsageProblemError: If the map has no CRS to transform from, or there is no such CRS.
    """
    wanted = form.crs or asked_for
    if wanted is None:
        return None
    if scene.crs is None:
        raise UsageProblemError(
            f"{scene.path} has no CRS to transform from",
            hint="Write a .gpkg without --dst-crs, or georeference the map.",
        )
    import pyproj

    try:
        return pyproj.CRS.from_user_input(wanted)
    except pyproj.exceptions.CRSError as error:
        raise UsageProblemError(
            f"{wanted!r} is no CRS",
            hint="Give a code such as EPSG:4326.",
        ) from error


def as_wkt(scene: Scene, dst_crs: pyproj.CRS | None) -> str | None:
    """The CRS of a layer, None for a map without place."""
    if dst_crs is not None:
        return str(dst_crs.to_wkt())
    return None if scene.crs is None else str(scene.crs.to_wkt(version="WKT2_2019"))


def as_projjson(wkt: str | None) -> str | None:
    """The same as PROJJSON."""
    if wkt is None:
        return None
    import pyproj

    return str(pyproj.CRS.from_wkt(wkt).to_json())
