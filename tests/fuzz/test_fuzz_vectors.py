"""Vectors of every kind as references and areas, held against what rasterio burns."""

import json
import random
import shutil

import geopandas as gpd
import numpy as np
import pytest
import shapely
from fuzz.running import SEED, counted, require_sound, run, warm_up, write_legend
from rasterio.features import geometry_mask
from rasterio.transform import from_origin
from rasters import write_geotiff

pytestmark = pytest.mark.fuzz

X, Y, SIDE = 500_000.0, 5_400_000.0, 60
SUFFIXES = (".gpkg", ".geojson", ".fgb", ".shp", ".parquet", ".geojsonl")
CRSES = (32632, 4326, 3857, 25832, 4979, 3035)


def any_shape(rng):
    """A geometry in UTM: boxes, bow ties, far ones, empty ones, collections, none at all."""
    left, bottom = (rng.uniform(-20, SIDE) for _ in range(2))
    box = shapely.box(X + left, Y - bottom - 9, X + left + rng.uniform(0.1, 40), Y - bottom)
    kind = rng.choice(
        ("box", "bow", "empty", "none", "collection", "line", "point", "far", "multi")
    )
    corners = list(box.exterior.coords)
    return {
        "box": box,
        "bow": shapely.Polygon([corners[0], corners[2], corners[1], corners[3]]),
        "empty": shapely.Polygon(),
        "none": None,
        "collection": shapely.GeometryCollection([box, shapely.Point(X, Y)]),
        "line": shapely.LineString(corners[:2]),
        "point": shapely.Point(X + left, Y - bottom),
        "far": shapely.box(X - 3e6, Y - 3e6, X + 3e6, Y + 3e6),
        "multi": shapely.MultiPolygon([box, shapely.box(X, Y - 2, X + 2, Y)]),
    }[kind]


def test_vectors_of_every_kind_end_well_or_in_one_line(tmp_path, tiny_model):
    rng = random.Random(SEED)  # noqa: S311 - no secret
    place = from_origin(X, Y, 1, 1)
    raster = write_geotiff(tmp_path / "map.tif", np.zeros((SIDE, SIDE), np.uint8), transform=place)
    image = np.full((3, SIDE, SIDE), 90, np.uint8)
    scene = write_geotiff(tmp_path / "scene.tif", image, transform=place, photometric="RGB")
    folder, legend = tmp_path / "tried", write_legend(tmp_path)
    sound = tmp_path / "sound.gpkg"
    whole = shapely.box(X, Y - SIDE, X + SIDE, Y)
    gpd.GeoDataFrame({"class": ["0"]}, geometry=[whole], crs=32632).to_file(sound)
    warm_up(
        ("evaluate", raster, "--reference", sound, "--legend", legend, "--json", "-q"),
        ("predict", scene, "-o", tmp_path / "o.tif", "-m", tiny_model, "--aoi", sound, "-n"),
    )
    with counted("vectors") as go_on:
        while go_on():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            shapes = [any_shape(rng) for _ in range(rng.randrange(1, 5))]
            crs, path = rng.choice(CRSES), folder / f"in{rng.choice(SUFFIXES)}"
            frame = gpd.GeoDataFrame({"class": ["0"] * len(shapes)}, geometry=shapes, crs=32632)
            try:
                if path.suffix == ".parquet":
                    frame.to_crs(crs).to_parquet(path)
                else:
                    driver = {"driver": "GeoJSONSeq"} if path.suffix == ".geojsonl" else {}
                    frame.to_crs(crs).to_file(path, **driver)
            except Exception:  # noqa: BLE001, S112 - no file that anybody could have
                continue
            before = set(folder.iterdir())
            words = ("--reference", path, "--legend", legend, "--json", "-q")
            outcome = run("evaluate", raster, *words)
            require_sound(folder, before, outcome)
            if outcome.code == 0 and crs == 32632:
                polygons = [s for s in map(_polygons_in, shapes) if s is not None]
                inside = geometry_mask(polygons, (SIDE, SIDE), place, invert=True)
                assert json.loads(outcome.stdout)["pixels"] == int(inside.sum())
            words = ("-o", folder / "out.tif", "-m", tiny_model, "--aoi", path, "-n")
            require_sound(folder, before, run("predict", scene, *words))


def _polygons_in(shape):
    if shape is None or shape.is_empty or shape.geom_type in ("LineString", "Point"):
        return None
    return shape.geoms[0] if shape.geom_type == "GeometryCollection" else shape
