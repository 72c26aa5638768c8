"""Vectorize a class raster as others do: METHOD RASTER OUT.

`chain`: rasterio.features.shapes, then shapely.coverage_simplify, then a GeoPackage. `gdal`:
GDALPolygonize in C, straight into a GeoPackage; neither simplified nor a coverage.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import rasterio


def chain(raster: str, out: str) -> None:
    import geopandas as gpd
    import numpy as np
    import shapely
    from rasterio.features import shapes

    with rasterio.open(raster) as file:
        classes = file.read(1)
        found = shapes(classes, mask=classes != file.nodata, transform=file.transform)
        polygons, ids = [], []
        for geometry, class_id in found:
            polygons.append(shapely.geometry.shape(geometry))
            ids.append(int(class_id))
        crs, resolution = file.crs, file.transform.a
    simple = shapely.coverage_simplify(np.array(polygons), 1.5 * resolution)
    gpd.GeoDataFrame({"class_id": ids}, geometry=simple, crs=crs).to_file(out, engine="pyogrio")


def gdal(raster: str, out: str) -> None:
    library = next((Path(rasterio.__file__).parents[1] / "rasterio.libs").glob("libgdal*"))
    lib = ctypes.CDLL(str(library))
    for name in (
        "GDALOpenEx", "GDALGetRasterBand", "GDALGetMaskBand", "GDALGetDriverByName", "GDALCreate",
        "GDALDatasetCreateLayer", "OGR_Fld_Create", "GDALGetSpatialRef",
    ):  # fmt: skip
        getattr(lib, name).restype = ctypes.c_void_p
    pointer, text, nothing = ctypes.c_void_p, ctypes.c_char_p, None
    lib.CPLSetConfigOption(text(b"GDAL_CACHEMAX"), text(b"128"))
    source = pointer(lib.GDALOpenEx(raster.encode(), 2, nothing, nothing, nothing))
    band = pointer(lib.GDALGetRasterBand(source, 1))
    mask = pointer(lib.GDALGetMaskBand(band))
    driver = pointer(lib.GDALGetDriverByName(b"GPKG"))
    target = pointer(lib.GDALCreate(driver, out.encode(), 0, 0, 0, 0, nothing))
    place = pointer(lib.GDALGetSpatialRef(source))
    layer = pointer(lib.GDALDatasetCreateLayer(target, b"classes", place, 3, nothing))
    field = pointer(lib.OGR_Fld_Create(b"class_id", 0))
    lib.OGR_L_CreateField(layer, field, 1)
    lib.GDALDatasetStartTransaction(target, 0)
    failed = lib.GDALPolygonize(band, mask, layer, 0, nothing, nothing, nothing)
    lib.GDALDatasetCommitTransaction(target)
    lib.GDALClose(target)
    if failed:
        raise SystemExit(f"GDALPolygonize failed ({failed})")


if __name__ == "__main__":
    with rasterio.Env():  # finds PROJ's data
        {"chain": chain, "gdal": gdal}[sys.argv[1]](*sys.argv[2:])
