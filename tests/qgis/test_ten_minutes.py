"""The page "hyseg in QGIS in ten minutes", followed in the window of QGIS on a real scene."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import rasterio
from rasterio.merge import merge

pytestmark = [pytest.mark.qgis, pytest.mark.timeout(3600)]

HERE = Path(__file__).parent
# Aerial photographs of farmland in Ohio that lie beside each other: 4 x 5 tiles of 256 pixels.
TILES = (
    *(20529, 20530, 20531, 20532, 20899, 20900, 20901, 20902, 21269, 21270, 21271, 21272),
    *(21639, 21640, 21641, 21642, 22009, 22010, 22011, 22012),
)
# Drawn by eye, in pixels of a view that is 1225 pixels wide: outlines of things that a class is.
VIEW = 1280 / 1225
DRAWN = {
    "water": [
        [(1080, 385), (1115, 392), (1155, 438), (1140, 465), (1050, 458)],
        [(838, 65), (900, 65), (905, 80), (880, 98), (840, 85)],
    ],
    "trees": [
        [(250, 180), (300, 220), (310, 270), (230, 330), (215, 290)],
        [(20, 480), (90, 460), (95, 560), (30, 620)],
        [(380, 130), (430, 40), (470, 40), (410, 150)],
        [(740, 830), (860, 820), (900, 880), (800, 940), (730, 900)],
        [(280, 520), (380, 520), (440, 560), (440, 610), (280, 600)],
    ],
    "grass": [
        [(850, 200), (1150, 200), (1150, 330), (850, 340)],
        [(170, 650), (400, 650), (400, 800), (180, 810)],
        [(800, 400), (1000, 390), (980, 500), (760, 510)],
        [(1050, 20), (1080, 90), (980, 100), (960, 20)],
    ],
    "field": [
        [(350, 410), (680, 410), (650, 540), (500, 560), (480, 500), (330, 460)],
        [(700, 620), (960, 580), (930, 700), (800, 760), (620, 740)],
        [(1090, 600), (1200, 620), (1200, 780), (960, 790)],
        [(480, 80), (700, 40), (740, 140), (460, 150)],
        [(10, 880), (160, 870), (160, 930), (10, 930)],
    ],
    "road": [
        [(806, 10), (812, 10), (772, 178), (766, 176)],
        [(830, 537), (1060, 542), (1060, 547), (830, 543)],
        [(400, 183), (560, 178), (560, 184), (400, 189)],
        [(686, 562), (692, 566), (606, 682), (600, 678)],
    ],
    "building": [
        [(575, 193), (606, 193), (606, 212), (575, 212)],
        [(528, 658), (562, 661), (558, 688), (524, 684)],
        [(490, 688), (510, 692), (502, 742), (482, 738)],
        [(240, 884), (266, 884), (264, 916), (240, 914)],
        [(670, 857), (686, 858), (685, 884), (668, 882)],
        [(1105, 10), (1135, 10), (1130, 58), (1105, 50)],
    ],
}


def make_scene(data, folder):
    """A scene from tiles, and the polygons over it."""
    paths = [next(data.glob(f"*/img/tile_{number}.tif")) for number in TILES]
    pixels, transform = merge(paths)
    with rasterio.open(
        folder / "scene.tif", "w", driver="GTiff", count=3, height=pixels.shape[1],
        width=pixels.shape[2], dtype="uint8", crs="EPSG:26917", transform=transform, tiled=True,
        compress="deflate", photometric="rgb",
    ) as file:  # fmt: skip
        file.write(pixels[:3])
    rings = [
        [name, [transform @ (x * VIEW, y * VIEW) for x, y in ring]]
        for name, drawn in DRAWN.items()
        for ring in drawn
    ]
    (folder / "polygons.json").write_text(json.dumps(rings))


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """What came of the walk, and its folder; TEN_MINUTES_FOLDER keeps it, with its pictures."""
    if not all(shutil.which(name) for name in ("qgis", "xvfb-run")):
        pytest.skip("there is no qgis, or no xvfb-run to give it a screen")
    data = Path(__file__).parents[3] / "shared" / "data" / "ohio_naip_6class"
    if not data.is_dir():
        pytest.skip("the aerial photographs are not here")
    kept = os.environ.get("TEN_MINUTES_FOLDER")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("ten minutes, größer")
    make_scene(data, folder)
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "GDAL_DATA", "PROJ_DATA", "PROJ_LIB")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    env |= {"QGIS_CUSTOM_CONFIG_PATH": str(folder / "config"), "TEN_MINUTES": str(folder)}
    env["XDG_RUNTIME_DIR"] = str(folder)
    # The program of another environment may be tried, such as one made from a wheel.
    hyseg = os.environ.get("TEN_MINUTES_HYSEG")
    program = [hyseg] if hyseg else [sys.executable, "-m", "hyseg_cli"]
    subprocess.run([*program, "qgis", "install"], env=env, check=True, cwd=folder)
    screen = shutil.which("xvfb-run")
    subprocess.run(
        [
            screen, "-a", "-s", "-screen 0 1500x1000x24",
            "qgis", "--nologo", "--noversioncheck", "--code", str(HERE / "ten_minutes.py"),
        ],
        env=env, check=False, cwd=folder, capture_output=True, timeout=3300,
    )  # fmt: skip
    told = json.loads((folder / "told.json").read_text())
    assert "error" not in told, told["error"]
    return told, folder


def test_polygons_that_were_never_saved_become_a_model_of_their_classes(walked):
    from hyseg_cli.learn.model.card import read_card

    card = read_card(walked[1] / "fields.safetensors")
    assert sorted(card.legend.names) == sorted(DRAWN)


def test_the_map_is_in_the_project_with_names_and_colours(walked):
    land = walked[0]["layers"]["map"]
    assert land["valid"]
    # QGIS prefers the names of files to ours, unless they lie in its folder for temporary files.
    assert land["name"] in ("landcover", "Land cover of scene")
    assert land["renderer"] == "paletted"
    assert {name for name, _ in land["classes"]} == set(DRAWN)
    assert len({color for _, color in land["classes"]}) == len(DRAWN)


def test_polygons_without_a_file_name_are_in_the_project_too(walked):
    layers = walked[0]["layers"]
    shapes = layers["polygons"]
    assert shapes["valid"]
    assert shapes["name"] == f"{layers['map']['name']} (polygons)"
    assert shapes["renderer"] == "categorizedSymbol"
    assert shapes["features"] > 10
    assert len(layers) == 3


def test_suggested_places_come_with_the_polygons_that_are_drawn(walked):
    places = walked[0]["layers"]["places"]
    assert places["name"] == "Where to draw on scene"
    assert places["drawn"] == sum(map(len, DRAWN.values()))
    assert places["features"] == places["drawn"] + 5


def test_the_project_keeps_the_layers(walked):
    with zipfile.ZipFile(walked[1] / "fields.qgz") as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".qgs"))
        text = archive.read(name).decode("utf-8")
    assert "landcover.tif" in text


def test_a_map_of_what_was_drawn_is_right_where_it_was_drawn(walked):
    """Not a score, which needs other polygons: that classes are not swapped on the way."""
    import numpy as np
    from rasterio.features import rasterize

    with rasterio.open(walked[1] / "landcover.tif") as file:
        found, transform = file.read(1), file.transform
        legend = json.loads(file.tags()["HYSEG_LEGEND"])["classes"]
    ids = {entry["name"]: entry["id"] for entry in legend}
    drawn = json.loads((walked[1] / "polygons.json").read_text())
    shapes = [({"type": "Polygon", "coordinates": [ring]}, ids[name]) for name, ring in drawn]
    truth = rasterize(shapes, found.shape, 255, transform=transform)
    known = truth != 255
    assert np.mean(found[known] == truth[known]) > 0.8
