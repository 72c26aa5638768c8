"""The tutorial's path on a real scene with default options: each step timed and pictured.

Draw, train, map, suggest, draw, train, map, vectorize, evaluate: each command in a process of its
own, as people type it. A person's drawing is simulated on real labels in ../shared. Pictures go to
the folder of HYSEG_WALK_PICTURES, if it is set.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from benchmarks.few_polygons import draw_squares, write_squares
from benchmarks.few_scenes import UNLABELLED, scenes
from PIL import Image, ImageDraw
from rasters import write_geotiff

from hyseg_cli.learn.model.card import read_card

SCENE = os.environ.get("HYSEG_WALK_SCENE", "dubai3")
FIRST = 20
"""Polygons that are drawn before anything is trained."""
SIDE = 420
"""Of a picture in pixels."""
LONGEST_S = 60
"""A person waits no longer for any step, on two cores."""
OTHER = "dubai2"
GOALS_S = (
    ("train on 40 polygons", 60), ("map the scene", 15), ("train on 10 more", 10),
    ("map it again", 15), ("suggest", 60), ("map another scene", 15),
)  # fmt: skip
"""Seconds on two cores that have nothing else to do."""


@pytest.mark.bench
def test_print_a_walk_along_the_tutorial(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    scene = next(scene for scene in scenes(shared) if scene.name == SCENE)
    write_geotiff(Path("scene.tif"), scene.image.transpose(2, 0, 1))
    truth = scene.truth.astype(np.uint8)
    write_geotiff(Path("truth.tif"), truth, nodata=UNLABELLED)
    Path("legend.json").write_text(legend_of(scene.names))
    write_squares(draw_squares(scene.truth, FIRST, 0), scene.names, Path("scene.tif"),
                  Path("polygons.gpkg"))  # fmt: skip
    walk = Walk()
    drawn = ("--labels", "polygons.gpkg", "--class-field", "kind")
    walk("train", "--images", "scene.tif", *drawn, "--out", "my.safetensors")
    colors = {entry.name: entry.color for entry in read_card(Path("my.safetensors")).legend.classes}
    walk.picture("1_drawn", photo(scene.image, "polygons.gpkg", colors))
    walk("predict", "scene.tif", "--model", "my.safetensors", "--out", "map.tif")
    walk.picture("2_map", classes("map.tif"))
    walk("suggest", "scene.tif", "--model", "my.safetensors", *drawn, "--out", "next.gpkg")
    fill_in("next.gpkg", scene)
    walk.picture("3_next", photo(scene.image, "next.gpkg", colors))
    drawn = ("--labels", "next.gpkg", "--class-field", "kind")
    walk("train", "--images", "scene.tif", *drawn, "--out", "better.safetensors")
    walk("predict", "scene.tif", "--model", "better.safetensors", "--out", "better.tif")
    walk.picture("4_better", classes("better.tif"))
    walk("vectorize", "better.tif", "--out", "better.gpkg", "--smooth", "--simplify", "1px")
    for name in ("map.tif", "better.tif"):
        walk("evaluate", name, "--reference", "truth.tif", "--reference-legend", "legend.json")
    print("\n| step | seconds | of processor time |\n|---|---|---|")
    for step, wall, busy in walk.steps:
        print(f"| `{step}` | {wall:.0f} | {busy:.0f} |")
    assert max(busy for _, _, busy in walk.steps) < 2 * LONGEST_S


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_print_how_long_a_person_waits(shared, tmp_path, monkeypatch):
    """Rounds of 40 polygons on a megapixel; the last map is of a scene that was never seen."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    found = {scene.name: scene for scene in scenes(shared) if scene.name in (SCENE, OTHER)}
    for name, scene in found.items():
        write_geotiff(Path(f"{name}.tif"), scene.image.transpose(2, 0, 1))
    mine, squares = found[SCENE], draw_squares(found[SCENE].truth, 50, 0)
    for name, count in (("forty", 40), ("fifty", 50)):
        write_squares(squares[:count], mine.names, Path(f"{SCENE}.tif"), Path(f"{name}.gpkg"))
    walk, scene = Walk(), f"{SCENE}.tif"
    # The format of the network is measured once on a machine, not in each round.
    walk("predict", scene, "--out", "first.tif", "--bounds", "500000,5399990,500010,5400000")
    for name in ("forty", "fifty"):
        drawn = ("--labels", f"{name}.gpkg", "--class-field", "kind")
        walk("train", "--images", scene, *drawn, "--out", f"{name}.safetensors")
        walk("predict", scene, "--model", f"{name}.safetensors", "--out", f"{name}.tif")
    walk("suggest", scene, "--model", "fifty.safetensors", *drawn, "--out", "next.gpkg")
    walk("predict", f"{OTHER}.tif", "--model", "fifty.safetensors", "--out", "other.tif")
    print("\n| step | seconds | of processor time | goal |\n|---|---|---|---|")
    for (_, wall, busy), (step, goal) in zip(walk.steps[1:], GOALS_S, strict=True):
        print(f"| {step} | {wall:.1f} | {busy:.1f} | {goal} |")


class Walk:
    """Runs commands one after the other; mutable."""

    def __init__(self):
        self.steps = []
        self.folder = os.environ.get("HYSEG_WALK_PICTURES")

    def __call__(self, *arguments):
        start, before = time.monotonic(), busy_s()
        done = subprocess.run(
            [sys.executable, "-m", "hyseg_cli", *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        print(f"\n$ hyseg {' '.join(arguments)}\n{done.stdout.strip()}", flush=True)
        self.steps.append((arguments[0], time.monotonic() - start, busy_s() - before))
        print("{1:.1f} s, {2:.1f} s of processor time".format(*self.steps[-1]), flush=True)

    def picture(self, name, image):
        if self.folder:
            image.save(Path(self.folder) / f"few_{name}.jpg", quality=80, optimize=True)


def busy_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def legend_of(names):
    entries = [{"id": i, "name": n, "color": f"#{40 * i:02x}0000"} for i, n in enumerate(names)]
    return json.dumps({"classes": entries})


def fill_in(path, scene):
    """What a person does: name the commonest class of each square, delete those that are mixed."""
    table = gpd.read_file(path, layer="polygons")
    with rasterio.open("scene.tif") as file:
        inverse = ~file.transform
    kept = []
    for index, entry in table.iterrows():
        if entry["rank"] > 0:
            left, bottom, right, top = entry.geometry.bounds
            (col, row), (last, end) = (inverse * at for at in ((left, top), (right, bottom)))
            part = scene.truth[round(row) : round(end), round(col) : round(last)]
            counts = np.bincount(part[part != UNLABELLED], minlength=len(scene.names))
            if counts.max() < 0.9 * part.size:
                continue
            table.loc[index, "kind"] = scene.names[int(counts.argmax())]
        kept.append(index)
    table.loc[kept].to_file(path, layer="polygons")


def photo(image, polygons, colors):
    """The scene with the polygons on it, in the colours of the map; white edges for new ones."""
    picture = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    draw, scale = ImageDraw.Draw(picture), SIDE / image.shape[1]
    table = gpd.read_file(polygons, layer="polygons")
    with rasterio.open("scene.tif") as file:
        inverse = ~file.transform
    new = table["rank"] > 0 if "rank" in table else [False] * len(table)
    for shape, kind, is_new in zip(table.geometry, table["kind"], new, strict=True):
        left, bottom, right, top = shape.bounds
        first, last = inverse * (left, top), inverse * (right, bottom)
        edge = (255, 255, 255) if is_new else (0, 0, 0)
        box = [value * scale + d for value, d in zip((*first, *last), (-3, -3, 3, 3), strict=True)]
        draw.rectangle(box, outline=edge, width=2, fill=colors[kind])
    return picture


def classes(path):
    """A map in the colours of its legend."""
    with rasterio.open(path) as file:
        ids, table = file.read(1), file.colormap(1)
    colors = np.array([table[i][:3] for i in range(256)], np.uint8)
    picture = Image.fromarray(colors[ids])
    return picture.resize((SIDE, SIDE), Image.Resampling.NEAREST)
