"""Polygons with their attributes, written as GeoPackage, FlatGeobuf, GeoJSON or Shapefile."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pyogrio.errors
import pyproj
import shapely
from affine import Affine

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.geo.coverage import Coverage
from hyseg_cli.geo.scene import Scene, to_map
from hyseg_cli.legend import Legend

DRIVERS = {
    ".gpkg": "GPKG",
    ".fgb": "FlatGeobuf",
    ".geojson": "GeoJSON",
    ".shp": "ESRI Shapefile",
}


def to_features(coverage: Coverage, scene: Scene, legend: Legend) -> gpd.GeoDataFrame:
    """The polygons in map coordinates, with class_id, class_name, area_m2 and n_px.

    Vertices shared by neighbours stay bit-identical, since each is transformed alike. `area_m2`
    is the area of the region's pixels, before any simplification: exact on a projected grid,
    measured on the ellipsoid in degrees; it is missing without a CRS.
    """
    names = dict(zip(legend.ids, legend.names, strict=True))
    ids = coverage.class_ids.tolist()
    features = gpd.GeoDataFrame(
        {
            "class_id": coverage.class_ids.astype(np.int32),
            "class_name": [names.get(class_id, str(class_id)) for class_id in ids],
            "n_px": coverage.pixels,
        },
        geometry=_to_map(coverage.polygons, scene.transform),
        crs=scene.crs.to_wkt() if scene.crs is not None else None,
    )
    if features.crs is not None:
        features["area_m2"] = _areas_m2(features, coverage.pixels, scene.transform)
    return features


def _to_map(polygons: npt.NDArray[Any], transform: Affine) -> npt.NDArray[Any]:
    def place(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(to_map(transform, points[:, 0], points[:, 1]))

    placed: npt.NDArray[Any] = shapely.transform(polygons, place)
    return placed


def _areas_m2(
    features: gpd.GeoDataFrame, pixels: npt.NDArray[np.int64], transform: Affine
) -> npt.NDArray[np.float64]:
    crs = pyproj.CRS(features.crs)
    if not crs.is_geographic:
        metres_per_unit = crs.axis_info[0].unit_conversion_factor
        pixel_m2 = abs(transform.determinant) * metres_per_unit**2
        return pixels.astype(np.float64) * pixel_m2
    geod = crs.get_geod() or pyproj.Geod(ellps="WGS84")
    return np.array([abs(geod.geometry_area_perimeter(g)[0]) for g in features.geometry])


def write_features(features: gpd.GeoDataFrame, out: Path, *, layer: str) -> None:
    """Write the polygons; the file gets its name only when it is complete.

    GeoJSON is written as RFC 7946 wants it: in EPSG:4326 with right-hand rings.

    Raises:
        UsageProblemError: If GeoJSON is asked for without a CRS.
        HysegError: If the file cannot be written.
    """
    suffix = out.suffix.lower()
    options: dict[str, Any] = {"layer": layer} if suffix == ".gpkg" else {}
    if suffix == ".geojson":
        if features.crs is None:
            raise UsageProblemError(
                "GeoJSON is in longitude and latitude, but the map has no CRS",
                hint="Write a .gpkg instead, or georeference the map.",
            )
        features = features.to_crs("EPSG:4326")
        options["RFC7946"] = "YES"
    work = out.with_name(out.name + ".hyseg")
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        features.to_file(work / out.name, driver=DRIVERS[suffix], engine="pyogrio", **options)
        # A shapefile is several files; the main one comes last, when all others are in place.
        for part in sorted(work.iterdir(), key=lambda path: path.name == out.name):
            part.replace(out.with_name(part.name))
    except (OSError, pyogrio.errors.DataSourceError, pyogrio.errors.FeatureError) as error:
        raise HysegError(
            f"{out}: the polygons cannot be written ({error})",
            hint="Check the folder's permissions and the free space.",
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
