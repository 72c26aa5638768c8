"""Damaged files: any byte of a header changed, cut anywhere; one line and nothing left."""

import random
import shutil

import numpy as np
import pytest
from fuzz.running import SEED, counted, require_sound, run, warm_up, write_legend
from rasterio.transform import from_origin
from rasters import write_geotiff

pytestmark = pytest.mark.fuzz

SEEN_BY = {
    "info": "scene", "vectorize": "map", "evaluate": "map", "predict": "scene", "sample": "map",
}  # fmt: skip
KINDS = ("flip", "cut", "zero", "high", "swap", "grow")


def damage(content: bytes, rng: random.Random, header: int) -> bytes:
    """Content with one thing wrong with it, mostly in its header."""
    data, kind = bytearray(content), rng.choice(KINDS)
    at = rng.randrange(header if rng.random() < 0.8 else len(data))
    match kind:
        case "flip":
            data[at] ^= 1 << rng.randrange(8)
        case "cut":
            del data[at:]
        case "zero":
            data[at : at + rng.choice((1, 2, 4, 8))] = b"\0" * min(8, len(data) - at)
        case "high":
            data[at : at + 4] = b"\xff" * min(4, len(data) - at)
        case "swap":
            other = rng.randrange(header)
            data[at], data[other] = data[other], data[at]
        case "grow":
            data[at:at] = rng.randbytes(rng.choice((1, 8, 64)))
    return bytes(data)


@pytest.mark.parametrize("layout", ["strips", "tiles", "big"])
def test_damaged_tiffs_end_in_one_line(tmp_path, tiny_model, layout):
    rng = random.Random(f"{layout} {SEED}")  # noqa: S311 - no secret
    place = from_origin(500_000, 5_400_000, 0.5, 0.5)
    profile = {
        "strips": {"compress": "deflate"},
        "tiles": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "lzw"},
        "big": {"BIGTIFF": "YES", "nodata": 255},
    }[layout]
    classes = np.random.default_rng(1).integers(0, 3, (1, 40, 40), dtype=np.uint8)
    image = np.random.default_rng(2).integers(30, 220, (3, 40, 40), dtype=np.uint8)
    whole = {
        "map": write_geotiff(tmp_path / "map.tif", classes, transform=place, **profile),
        "scene": write_geotiff(
            tmp_path / "scene.tif", image, transform=place, photometric="RGB", **profile
        ),
    }
    content = {name: path.read_bytes() for name, path in whole.items()}
    folder = tmp_path / "tried"

    legend = write_legend(tmp_path)

    def commands(path, out):
        return {
            "info": (path, "-m", tiny_model),
            "vectorize": (path, "-o", out),
            "sample": (path, "-o", out, "--count", 300),
            "evaluate": (path, "--reference", whole["map"], "--legend", legend),
            "predict": (path, "-o", out.with_suffix(".tif"), "-m", tiny_model, "-n"),
        }

    for command, name in SEEN_BY.items():
        out = tmp_path / f"{command}.gpkg"
        warm_up((command, *commands(whole[name], out)[command]))
    with counted(f"damaged TIFF, {layout}") as go_on:
        while go_on():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            command = rng.choice(list(SEEN_BY))
            path = folder / "in.tif"
            path.write_bytes(damage(content[SEEN_BY[command]], rng, 700))
            before, out = set(folder.iterdir()), folder / "out.gpkg"
            words = commands(path, out)[command]
            require_sound(folder, before, run(command, *words), out)


def test_damaged_models_end_in_one_line(tmp_path, tiny_model):
    rng = random.Random(SEED)  # noqa: S311 - no secret
    content = tiny_model.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    scene = write_geotiff(
        tmp_path / "scene.tif", np.full((3, 40, 40), 90, np.uint8), photometric="RGB"
    )
    folder = tmp_path / "tried"
    warm_up(
        ("info", tiny_model), ("predict", scene, "-o", tmp_path / "o.tif", "-m", tiny_model, "-n")
    )
    with counted("damaged safetensors") as go_on:
        while go_on():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            model, out = folder / "in.safetensors", folder / "out.tif"
            model.write_bytes(damage(content, rng, header))
            before = set(folder.iterdir())
            words = rng.choice((("info", model), ("predict", scene, "-o", out, "-m", model, "-n")))
            require_sound(folder, before, run(*words), out)
