"""Damaged files: any byte of a header changed, cut anywhere; one line and nothing left."""

import random
import shutil

import geopandas as gpd
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


DOCUMENTS = {
    "legend.json": None,
    "legend.csv": "id,name,color\n0,0,#112233\n1,1,#445566\n2,2,#778899\n",
    "legend.clr": "0 17 34 51 255 0\n1 68 85 102 255 1\n2 119 136 153 255 2\n",
    "config.toml": "json = true\nquiet = true\n",
    "map.tif.aux.xml": """<PAMDataset><PAMRasterBand band="1"><CategoryNames>
<Category>0</Category><Category>1</Category><Category>2</Category></CategoryNames>
<GDALRasterAttributeTable><FieldDefn index="0"><Name>Value</Name><Type>0</Type><Usage>5</Usage>
</FieldDefn><FieldDefn index="1"><Name>Class</Name><Type>2</Type><Usage>2</Usage></FieldDefn>
<FieldDefn index="2"><Name>R</Name><Type>0</Type><Usage>6</Usage></FieldDefn>
<FieldDefn index="3"><Name>G</Name><Type>0</Type><Usage>7</Usage></FieldDefn>
<FieldDefn index="4"><Name>B</Name><Type>0</Type><Usage>8</Usage></FieldDefn>
<Row index="0"><F>0</F><F>0</F><F>1</F><F>2</F><F>3</F></Row>
<Row index="1"><F>1</F><F>1</F><F>4</F><F>5</F><F>6</F></Row></GDALRasterAttributeTable>
</PAMRasterBand></PAMDataset>""",
    "points.design.json": None,
    "points.gpkg": None,
}
"""What stands in them; None for what is made on the spot."""


def test_damaged_documents_end_in_one_line(tmp_path):
    rng = random.Random(f"documents {SEED}")  # noqa: S311 - no secret
    place = from_origin(500_000, 5_400_000, 0.5, 0.5)
    classes = np.random.default_rng(1).integers(0, 3, (1, 40, 40), dtype=np.uint8)
    start, folder = tmp_path / "start", tmp_path / "tried"
    start.mkdir()
    path = write_geotiff(start / "map.tif", classes, transform=place)
    write_legend(start)
    for name, text in DOCUMENTS.items():
        if text is not None:
            (start / name).write_text(text)
    warm_up(("sample", path, "-o", start / "points.gpkg", "--count", 200))
    points = gpd.read_file(start / "points.gpkg")
    points["ref_class"] = "0"
    points.to_file(start / "points.gpkg", layer="samples")

    def commands(there):
        map_, legend = there / "map.tif", there / "legend.json"
        compare = ("evaluate", map_, "--reference", map_, "--legend")
        return {
            "legend.json": (*compare, legend),
            "legend.csv": (*compare, there / "legend.csv"),
            "legend.clr": (*compare, there / "legend.clr"),
            "config.toml": (*compare, legend, "--config", there / "config.toml"),
            "map.tif.aux.xml": (rng.choice(("info", "vectorize")), map_),
            "points.design.json": ("evaluate", map_, "--samples", there / "points.gpkg"),
            "points.gpkg": ("evaluate", map_, "--samples", there / "points.gpkg"),
        }

    for words in commands(start).values():
        warm_up((*words, "-o", tmp_path / "o.gpkg") if words[0] == "vectorize" else words)
    with counted("damaged documents") as go_on:
        while go_on():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(start, folder)
            name = rng.choice(list(DOCUMENTS))
            content = (folder / name).read_bytes()
            for _ in range(rng.randrange(1, 3)):
                content = damage(content, rng, min(len(content), 5000)) or b" "
            (folder / name).write_bytes(content)
            before, out = set(folder.iterdir()), folder / "out.gpkg"
            words = commands(folder)[name]
            words = (*words, "-o", out) if words[0] == "vectorize" else words
            require_sound(folder, before, run(*words), out)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".shp", ".parquet", ".geojsonl"])
def test_damaged_vectors_end_in_one_line(tmp_path, tiny_model, suffix):
    rng = random.Random(f"{suffix} {SEED}")  # noqa: S311 - no secret
    legend, start, folder = write_legend(tmp_path), tmp_path / "start", tmp_path / "tried"
    start.mkdir()
    image = np.random.default_rng(2).integers(30, 220, (3, 40, 40), dtype=np.uint8)
    scene = write_geotiff(tmp_path / "scene.tif", image, photometric="RGB")
    classes = np.random.default_rng(1).integers(0, 3, (1, 40, 40), dtype=np.uint8)
    raster = write_geotiff(tmp_path / "map.tif", classes)
    warm_up(("vectorize", raster, "-o", start / f"in{suffix}"))

    def commands(path):
        compare = ("--reference", path, "--class-field", "class_id", "--legend", legend)
        return (
            ("evaluate", raster, *compare),
            ("predict", scene, "-o", tmp_path / "o.tif", "-m", tiny_model, "-n", "--aoi", path),
        )

    warm_up(*commands(start / f"in{suffix}"))
    parts = [path.name for path in start.iterdir()]
    with counted(f"damaged vectors, {suffix}") as go_on:
        while go_on():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(start, folder)
            name = rng.choice(parts)
            content = (folder / name).read_bytes()
            damaged = damage(content, rng, min(len(content), 3000)) if content else b"?"
            (folder / name).write_bytes(damaged)
            before = set(folder.iterdir())
            require_sound(folder, before, run(*rng.choice(commands(folder / f"in{suffix}"))))
