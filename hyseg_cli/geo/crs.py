"""Reference systems as the rest asks for them: the part on the ground, and where x repeats."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError

from hyseg_cli.errors import UnusableFileError

if TYPE_CHECKING:
    import pyproj

# pyproj takes long to load, so only those who need it wait for it.


def crs_text(crs: CRS) -> str:
    """A CRS as text that loses nothing: its code if it has one, all of it otherwise.

    GDAL's default, WKT of 1999, drops the codes of compound systems and knows no 3D ones.
    """
    try:
        authority = crs.to_authority()
        code = "" if authority is None else ":".join(authority)
        if code and CRS.from_user_input(code) == crs:
            return code
    except CRSError:
        pass
    return str(crs.to_wkt(version="WKT2_2019"))


def name_of_crs(crs: CRS) -> str:
    """Its name for people."""
    import pyproj

    try:
        return str(pyproj.CRS.from_user_input(crs_text(crs)).name)
    except pyproj.exceptions.ProjError:
        return str(crs.to_string())


def horizontal(crs: CRS | pyproj.CRS | str) -> pyproj.CRS:
    """A CRS without its heights, as pyproj knows it."""
    if isinstance(crs, CRS):
        return _horizontal(crs_text(crs))
    return _horizontal(crs if isinstance(crs, str) else crs.to_wkt())


@lru_cache(maxsize=64)
def _horizontal(wkt: str) -> pyproj.CRS:
    import pyproj

    crs = pyproj.CRS.from_user_input(wkt)
    if crs.is_compound:
        crs = crs.sub_crs_list[0]
    return crs.to_2d() if len(crs.axis_info) > 2 else crs


def way_between(source: pyproj.CRS, target: pyproj.CRS, name: str) -> pyproj.Transformer:
    """How coordinates, x first, get from one CRS to another.

    Args:
        source: Their CRS.
        target: The other.
        name: What is to be transformed, for the error.

    Raises:
        UnusableFileError: If nothing leads there, as from local systems.
    """
    import pyproj

    try:
        return pyproj.Transformer.from_crs(source, target, always_xy=True)
    except pyproj.exceptions.ProjError as error:
        raise UnusableFileError(
            f"{name}: coordinates cannot be transformed from {source.name} ({source.type_name}) "
            f"to {target.name} ({target.type_name})",
            hint="One CRS may be a local one, or damaged: `hyseg info` shows it. Assign the right "
            "one: gdal_edit.py -a_srs EPSG:...",
        ) from error


@lru_cache(maxsize=64)
def turn_of(crs: pyproj.CRS) -> float | None:
    """After what step in x a CRS comes to the same place: 360 in degrees; None if it never does.

    That is so in degrees, and in projections of which x is the longitude, such as Web Mercator.
    """
    if crs.is_geographic:
        return 2.0 * math.pi / crs.axis_info[0].unit_conversion_factor
    if not crs.is_projected or crs.geodetic_crs is None:
        return None
    import pyproj

    try:
        way = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
        back = way.transform(0.0, 0.0, direction="INVERSE")
        lon = np.array([back[0], *(back[0] + np.array([1.0, 1.0, 80.0]))])
        x, _ = way.transform(lon, np.array([0.0, 0.0, 50.0, -50.0]))
    except pyproj.exceptions.ProjError:
        return None
    degree = x[1] - x[0]
    is_even = np.allclose(x - x[0], degree * (lon - lon[0]), rtol=1e-9, atol=1e-6)
    return float(360.0 * degree) if is_even and degree > 0 else None
