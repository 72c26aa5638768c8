"""Place by control: ground control points or rational polynomials instead of a transform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.transform import RPCTransformer, from_gcps

from hyseg_cli.geo.window import Window

Floats = npt.NDArray[np.float64]

MIN_POINTS = 3
"""Ground control points that determine an affine transform."""


@dataclass(frozen=True)
class GroundControl:
    """What ties a raster without transform to the ground; handed on to the map as it is."""

    points: tuple[GroundControlPoint, ...]
    """Ground control points, empty if there are only polynomials."""
    crs: CRS | None
    """CRS of the points."""
    rpc: Mapping[str, str]
    """Rational polynomial coefficients as GDAL's metadata domain RPC holds them."""

    @classmethod
    def of(cls, dataset: rasterio.DatasetReader) -> GroundControl | None:
        """That of an open raster, None if it has none."""
        points, crs = dataset.gcps
        rpc = dataset.tags(ns="RPC")
        return cls(tuple(points), crs, rpc) if points or rpc else None

    def seen_from(self, window: Window) -> GroundControl:
        """The same for a window of the raster."""
        points = tuple(
            GroundControlPoint(
                row=point.row - window.row,
                col=point.col - window.col,
                x=point.x,
                y=point.y,
                z=point.z,
                id=point.id,
                info=point.info,
            )
            for point in self.points
        )
        shifts = {"LINE_OFF": window.row, "SAMP_OFF": window.col}
        rpc = {
            key: repr(float(value) - shifts[key]) if shifts.get(key) else value
            for key, value in self.rpc.items()
        }
        return GroundControl(points, self.crs, rpc)

    def to_degrees(self, col: Floats, row: Floats) -> tuple[Floats, Floats] | None:
        """Longitude and latitude of points at fractional columns and rows, None if not known.

        Of ground control points the affine transform that fits them best, of polynomials the
        place at their middle height: near enough to measure pixels.

        Raises:
            pyproj.exceptions.ProjError: If the CRS cannot be converted.
        """
        if len(self.points) >= MIN_POINTS and self.crs is not None:
            fit = from_gcps(self.points)
            x, y = fit.a * col + fit.b * row + fit.c, fit.d * col + fit.e * row + fit.f
            return degrees(self.crs, x, y)
        if not self.rpc:
            return None
        rpc = RPC.from_gdal(dict(self.rpc))
        # The transformer takes pixel centres for whole numbers.
        with RPCTransformer(rpc) as transformer:
            x, y = transformer.xy(row, col, zs=np.full(len(row), rpc.height_off), offset="ul")
        return np.asarray(x, np.float64), np.asarray(y, np.float64)

    def to_vrt(self) -> list[ET.Element]:
        """The elements of a VRT that hold it."""
        elements = []
        if self.points:
            gcps = ET.Element("GCPList")
            if self.crs is not None:
                gcps.set("Projection", self.crs.to_wkt(version="WKT2_2019"))
                gcps.set("dataAxisToSRSAxisMapping", "2,1" if self.crs.is_geographic else "1,2")
            for number, point in enumerate(self.points, 1):
                ET.SubElement(
                    gcps,
                    "GCP",
                    Id=point.id or str(number),
                    Info=point.info or "",
                    Pixel=repr(float(point.col)),
                    Line=repr(float(point.row)),
                    X=repr(float(point.x)),
                    Y=repr(float(point.y)),
                    Z=repr(float(point.z or 0.0)),
                )
            elements.append(gcps)
        if self.rpc:
            domain = ET.Element("Metadata", domain="RPC")
            for key, value in self.rpc.items():
                ET.SubElement(domain, "MDI", key=key).text = value
            elements.append(domain)
        return elements


def degrees(crs: CRS, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Longitude and latitude of map coordinates.

    Raises:
        pyproj.exceptions.ProjError: If the CRS cannot be converted.
    """
    import pyproj  # takes long to load

    to_degrees = pyproj.Transformer.from_crs(
        pyproj.CRS.from_wkt(crs.to_wkt()), "EPSG:4326", always_xy=True
    )
    lon, lat = to_degrees.transform(x, y, errcheck=True)
    return lon, lat
