"""Rasters of every build, held against NumPy: what is vectorised, counted and compared."""

import json
import shutil
import warnings

import numpy as np
import pytest
import rasterio
from fuzz.running import counted, require_sound, run, warm_up, write_legend
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasters import write_geotiff

pytestmark = pytest.mark.fuzz

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64")
CRSES = (
    "EPSG:32632", "EPSG:4326", "EPSG:3857", "EPSG:2193", "EPSG:7415", "EPSG:3413", None,
    'LOCAL_CS["site",UNIT["metre",1]]',
)  # fmt: skip
BUILDS = st.fixed_dictionaries(
    {
        "height": st.sampled_from((1, 2, 17, 40, 70)),
        "width": st.sampled_from((1, 3, 16, 33, 65)),
        "dtype": st.sampled_from(DTYPES),
        "crs": st.sampled_from(CRSES),
        "nodata": st.sampled_from((None, 0, 255, -1, 1, float("nan"), -128, 2**31)),
        "turn": st.sampled_from((0.0, 30.0, 90.0)),
        "south_up": st.booleans(),
        "is_placed": st.booleans(),
        "tiled": st.booleans(),
        "mask": st.booleans(),
        "overviews": st.booleans(),
        "scale": st.sampled_from((1.0, 0.5)),
        "compress": st.sampled_from((None, "deflate", "packbits")),
        "seed": st.integers(0, 10**6),
    }
)


def write(path, build):
    """A class raster; returns its values and where it declares data, None if GDAL refuses."""
    rng = np.random.default_rng(build["seed"])
    shape = (build["height"], build["width"])
    values = rng.integers(0, 4, shape).astype(build["dtype"])
    mask = np.where(rng.random(shape) < 0.8, 255, 0).astype(np.uint8)
    pixel = 1e-5 if build["crs"] == "EPSG:4326" else 0.5
    x, y = (9.0, 48.0) if build["crs"] == "EPSG:4326" else (500_000.0, 5_300_000.0)
    place = Affine.translation(x, y) @ Affine.rotation(build["turn"])
    place = place @ Affine.scale(pixel, pixel if build["south_up"] else -pixel)
    profile = {"crs": build["crs"], "transform": place} if build["is_placed"] else {}
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16} if build["tiled"] else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                path, "w", driver="GTiff", count=1, height=shape[0], width=shape[1],
                dtype=build["dtype"], nodata=build["nodata"], compress=build["compress"],
                **profile, **tiles,
            ) as file:  # fmt: skip
                file.write(values, 1)
                file.scales = [build["scale"]]
                if build["mask"] and build["nodata"] is None:
                    file.write_mask(mask)
                if build["overviews"]:
                    file.build_overviews([2])
            with rasterio.open(path) as file:
                return values, file.read_masks(1) > 0
    except (ValueError, OverflowError, rasterio.errors.RasterioError):
        return None


def expected_counts(values, valid):
    """Pixels of each class; in 8-bit rasters 255 is none."""
    known = values[valid]
    found, counts = np.unique(known, return_counts=True)
    return {int(v): int(n) for v, n in zip(found, counts, strict=True) if v != 255}


def test_class_rasters_of_every_build_are_counted_as_numpy_counts_them(tmp_path):
    folder, legend = tmp_path / "tried", write_legend(tmp_path)

    @settings(
        max_examples=20, deadline=None, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )  # fmt: skip
    @given(build=BUILDS)
    def tried(build):
        if not go_on():
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path, out = folder / "in.tif", folder / "out.gpkg"
        written = write(path, build)
        if written is None:
            return
        before = set(folder.iterdir())
        outcome = run("vectorize", path, "-o", out, "--json", "--overwrite")
        require_sound(folder, before, outcome, out)
        counts = expected_counts(*written)
        if outcome.code == 0:
            found = json.loads(outcome.stdout)["classes"]
            assert {entry["class_id"]: entry["pixels"] for entry in found} == counts
        else:
            assert not counts or build["dtype"] in ("float32", "float64", "int64", "uint32")
        for words in (
            ("evaluate", path, "--reference", path, "--legend", legend, "--json", "-q"),
            ("info", path, "--json"),
            ("sample", path, "-o", folder / "out.fgb", "--count", 200),
        ):
            before = set(folder.iterdir())
            outcome = run(*words)
            require_sound(folder, before, outcome, folder / "out.fgb")
            if words[0] == "evaluate" and outcome.code == 0:
                result = json.loads(outcome.stdout)
                assert result["pixels"] == sum(counts.values())
                assert result["overall_accuracy"] == 1.0

    sound = write_geotiff(tmp_path / "sound.tif", np.eye(40, dtype=np.uint8))
    warm_up(
        ("vectorize", sound, "-o", tmp_path / "sound.gpkg", "--json"),
        ("evaluate", sound, "--reference", sound, "--legend", legend, "--json", "-q"),
        ("info", sound, "--json"),
        ("sample", sound, "-o", tmp_path / "sound.fgb", "--count", 200),
    )
    with counted("rasters") as go_on:
        while go_on():
            tried()
