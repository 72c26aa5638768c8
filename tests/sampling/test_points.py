"""Labelled points that come from elsewhere."""

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely

from hyseg_cli.errors import ModelMismatchError
from hyseg_cli.geo.raster.raster import open_raster
from hyseg_cli.sampling.points import read_points

LOCAL = 'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],UNIT["m",1]]'


def test_points_of_a_local_system_do_not_fit_a_map_of_the_earth(write_raster, tmp_path):
    scene = open_raster(write_raster(np.zeros((40, 40), np.uint8), crs="EPSG:32632"))
    path = tmp_path / "points.parquet"
    points = [shapely.Point(500_000.5, 5_400_000.5)]
    gpd.GeoDataFrame({"kind": ["a"]}, geometry=points, crs=pyproj.CRS(LOCAL)).to_parquet(path)
    with pytest.raises(ModelMismatchError, match="cannot be transformed from site"):
        read_points(path, "kind", scene)
