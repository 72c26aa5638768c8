"""Scenes of every build, mapped with a network that costs nothing, held against NumPy."""

import random
import shutil
import warnings

import numpy as np
import pytest
import rasterio
from fuzz.running import SEED, counted, require_sound, run, warm_up
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasters import write_geotiff
from workflows.fake_network_run import BandsAsProbabilities

from hyseg_cli.workflows.predict import mapper

pytestmark = pytest.mark.fuzz

SIDES = (1, 2, 17, 40, 70, 150)
CRSES = (
    "EPSG:32632", "EPSG:4326", "EPSG:3857", "EPSG:2193", "EPSG:7415", "EPSG:32651+4979", None,
    'LOCAL_CS["site",UNIT["metre",1]]',
)  # fmt: skip
CREATION = (
    {},
    {"interleave": "pixel", "compress": "deflate"},
    {"interleave": "band", "compress": "lzw", "predictor": 2},
    {"tiled": True, "blockxsize": 16, "blockysize": 32, "compress": "packbits"},
    {"tiled": True, "blockxsize": 64, "blockysize": 64, "BIGTIFF": "YES"},
    {"blockysize": 1},
)


def write_scene(path, rng):
    """A scene; returns its first three bands and where it holds data."""
    height, width, crs = rng.choice(SIDES), rng.choice(SIDES), rng.choice(CRSES)
    kind = rng.choice(("nothing", "nodata", "mask", "alpha"))
    numbers = np.random.default_rng(rng.randrange(2**31))
    # Values apart from each other by more than what blending rounds.
    steps = np.broadcast_to(np.array([40, 110, 180], np.uint8)[:, None, None], (3, height, width))
    image = numbers.permuted(steps, axis=0)
    holes = numbers.random((height, width)) < 0.2
    if kind == "nodata":
        image[:, holes] = 7
    if kind == "alpha":
        image = np.concatenate([image, np.where(holes, 0, 255).astype(np.uint8)[None]])
    pixel, x, y = (5e-6, 9.0, 48.0) if crs == "EPSG:4326" else (0.5, 500_000.0, 5_300_000.0)
    place = Affine.translation(x, y) @ Affine.rotation(rng.choice((0, 0, 30, 90)))
    place = place @ Affine.scale(pixel, rng.choice((pixel, -pixel)))
    profile = {} if rng.random() < 0.2 else {"crs": crs, "transform": place}
    with (
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=rng.choice((True, False))),rasterio.open(
        path, "w", driver="GTiff", count=len(image), height=height, width=width,
        dtype="uint8", nodata=7 if kind == "nodata" else None, **profile,
        **rng.choice(CREATION),
    ) as file
    ):  # fmt: skip
        color = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
        file.colorinterp = color[: len(image)]
        file.write(image)
        if kind == "mask":
            file.write_mask(~holes)
        if rng.random() < 0.3:
            file.build_overviews([2])
    return image[:3], np.ones_like(holes) if kind == "nothing" else ~holes


def test_scenes_of_every_build_are_mapped_as_numpy_maps_them(
    tmp_path, tiny_model, legend, monkeypatch
):
    rng = random.Random(SEED)  # noqa: S311 - no secret
    monkeypatch.setattr(mapper, "Predictor", BandsAsProbabilities)
    ids = np.array([entry.id for entry in legend.classes])
    sound = write_geotiff(
        tmp_path / "sound.tif", np.full((3, 40, 40), 90, np.uint8), photometric="RGB"
    )
    warm_up(("predict", sound, "-o", tmp_path / "o.tif", "-m", tiny_model, "-n"))
    folder = tmp_path / "tried"
    with counted("scenes") as go_on:
        while go_on():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            path, out = folder / "in.tif", folder / "out.tif"
            image, valid = write_scene(path, rng)
            before = set(folder.iterdir())
            tile, overlap = rng.choice(((64, 0), (128, 0), (64, 32), (128, 32)))
            words = ("-o", out, "-m", tiny_model, "--tile-size", tile)
            words += ("--overlap", overlap, "--confidence", folder / "out.c.tif")
            outcome = run("predict", path, *words)
            require_sound(folder, before, outcome, out)
            if outcome.code == 0:
                expected = np.where(valid, ids[image.argmax(axis=0)], 255)
                with (
                    warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
                    rasterio.open(out) as file,
                    rasterio.open(path) as scene,
                ):
                    assert (file.read(1) == expected).all()
                    assert file.crs == scene.crs
                    assert file.transform == scene.transform
            else:
                assert not valid.any() or "CRS" in outcome.stderr, outcome.stderr
