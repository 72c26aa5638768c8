"""Three data sets with three legends, made of the generated scenes."""

from __future__ import annotations

import json

import numpy as np
import rasterio
from affine import Affine

COMMON = ("building", "road", "bare ground", "low vegetation", "trees", "water")

TABLES = {
    # The scenes' own: vegetation may be grass or trees.
    "city": (
        ("building", "land", "road", "vegetation", "water"),
        (0, 1, 2, 3, 4),
        {"land": "bare ground", "vegetation": ["low vegetation", "trees"]},
    ),
    # Roofs alone.
    "roofs": (("roof", "rest"), (0, 1, 1, 1, 1), {"roof": "building", "rest": "not building"}),
    # Nothing known of buildings and roads; green things are trees.
    "woods": (
        ("unknown", "forest", "water"),
        (0, 0, 0, 1, 2),
        {"unknown": "any", "forest": "trees"},
    ),
}


def legend_text(names):
    colors = [f"#{10 * i + 40:02x}{200 - 20 * i:02x}60" for i in range(len(names))]
    return json.dumps(
        {
            "classes": [
                {"id": i, "name": name, "color": color}
                for i, (name, color) in enumerate(zip(names, colors, strict=True))
            ]
        }
    )


def move(path, to, columns, table):
    """Copy a raster to a place so many columns to the east, its values exchanged by a table."""
    with rasterio.open(path) as file:
        values, profile = file.read(), file.profile
    profile["transform"] @= Affine.translation(columns, 0)
    with rasterio.open(to, "w", **profile) as file:
        file.write(values if table is None else table[values])


def write_sources(folder, scene_folder, *, far=5000):
    """Legends, images and labels, and a TOML file for each source: the paths of these files.

    The scene `west` lies `far` columns further to the east than beside `east`.
    """
    (folder / "common.json").write_text(legend_text(COMMON))
    files = []
    for name, (classes, values, rules) in TABLES.items():
        for part in ("images", "labels"):
            (folder / name / part).mkdir(parents=True)
        table = np.full(256, 255, np.uint8)
        table[: len(values)] = values
        for scene, shift in (("east", 0), ("west", far)):
            own = f"{scene}.tif"
            move(scene_folder / "images" / own, folder / name / "images" / own, shift, None)
            move(scene_folder / "labels" / own, folder / name / "labels" / own, shift, table)
        (folder / f"{name}.json").write_text(legend_text(classes))
        lines = [
            f'images = "{name}/images"',
            f'labels = "{name}/labels"',
            f'legend = "{name}.json"',
            f'licence = "licence of {name}"',
            f'attribution = "people of {name}"',
            "[classes]",
            *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in rules.items()),
        ]
        files.append(folder / f"{name}.toml")
        files[-1].write_text("\n".join(lines))
    return files


def source_arguments(folder, out, files, **options):
    values = {
        "legend": folder / "common.json",
        "out": out,
        "preset": "cpu_smoke",
        "chip-size": 64,
        "batch-size": 4,
        "prior-steps": 4,
        "steps": 4,
        "val-scenes": "*/west",
        "val-every": 4,
    } | options
    given = [part for k, v in values.items() if v is not None for part in (f"--{k}", v)]
    return ["train", *[part for file in files for part in ("--source", file)], *given]
