"""Every shell block of README and the documentation runs, in the order of its page.

Above a block a comment may stand that no reader sees: `<!-- test: slow -->` for what takes minutes,
`<!-- test: exit 5 -->` for what ends with another code than 0, `<!-- test: skip: REASON -->`. The
files that pages speak of are there, and `hyseg train` takes one step: the environment sets it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely.geometry
from click.testing import CliRunner
from rasterio.features import shapes
from test_docs import commands_in, require_options

from hyseg_cli.cli.group import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(
    r"(?:^<!-- test: (?P<mark>.*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PLAIN = re.compile(r"(?P<set>(?:\w+=\S+ )*)hyseg (?P<words>[^|&;<>$`*?#]*)(?P<pipe>\|[^|].*)?")
"""What needs no shell: a command, with variables before it or a pipe behind."""
MOST_SKIPPED = 15


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    mark: str
    before: str
    """The paragraph above."""

    @property
    def is_shell(self):
        return self.language in {"sh", "bash", "shell", "console"}

    @property
    def exit_code(self):
        return int(self.mark.removeprefix("exit ")) if self.mark.startswith("exit ") else 0


def blocks_of(page):
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            found["language"],
            found["text"],
            found["mark"] or "",
            text[: found.start()].rstrip().rpartition("\n\n")[2],
        )
        for found in FENCE.finditer(text)
    ]


# ---- the files that the pages speak of --------------------------------------------------------


def polygons_of(path, names):
    """The regions of a label raster as polygons with their class in the column `kind`."""
    with rasterio.open(path) as file:
        found = [
            (names[int(value)], shapely.geometry.shape(shape))
            for shape, value in shapes(file.read(1), transform=file.transform)
            if int(value) in names
        ]
        crs = file.crs
    found = sorted(found, key=lambda pair: -pair[1].area)[:60]
    kinds, geometry = zip(*found, strict=True)
    return gpd.GeoDataFrame({"kind": kinds}, geometry=list(geometry), crs=crs)


@pytest.fixture(scope="module")
def supplies(tmp_path_factory, scene_folder, lively_model, legend):
    folder = tmp_path_factory.mktemp("supplies")
    images, labels = scene_folder / "images", scene_folder / "labels"
    for name, source in {
        "scene.tif": images / "east.tif",
        "other.tif": images / "west.tif",
        "truth.tif": labels / "east.tif",
        "other-truth.tif": labels / "west.tif",
        "legend.json": scene_folder / "legend.json",
        "my.safetensors": lively_model,
    }.items():
        shutil.copy(source, folder / name)
    shutil.copytree(images, folder / "images")
    shutil.copytree(labels, folder / "labels")
    for kind, source in (("val", images), ("val-labels", labels)):
        (folder / kind).mkdir()
        shutil.copy(source / "west.tif", folder / kind)
    (folder / "scenes").mkdir()
    with rasterio.open(folder / "scene.tif") as scene:
        pixels, profile = scene.read(), scene.profile
        for index, rows in enumerate((slice(0, 128), slice(128, 256))):
            part = pixels[:, rows]
            place = scene.transform @ rasterio.Affine.translation(0, rows.start)
            profile |= {"height": part.shape[1], "transform": place}
            with rasterio.open(folder / "scenes" / f"part{index}.tif", "w", **profile) as file:
                file.write(part)
    names = dict(zip(legend.ids, legend.names, strict=True))
    polygons = polygons_of(folder / "truth.tif", names)
    polygons.to_file(folder / "polygons.gpkg")
    polygons.to_file(folder / "truth.gpkg")
    words = ["predict", folder / "scene.tif", "-m", lively_model, "--tile-size", "128", "--out"]
    for name in ("landcover.tif", "baseline.tif"):
        done = CliRunner().invoke(cli, [*map(str, words), str(folder / name)])
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def place(supplies, tmp_path, monkeypatch, lively_model):
    """A copy of the supplies to work in, a command called hyseg, and settings for tiny runs."""
    folder = tmp_path / "place"
    shutil.copytree(supplies, folder)
    commands = tmp_path / "bin"
    commands.mkdir()
    command = commands / "hyseg"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hyseg_cli "$@"\n')
    command.chmod(0o755)
    monkeypatch.chdir(folder)
    for name, value in {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "HYSEG_PREDICT_MODEL": str(lively_model),
        "HYSEG_PREDICT_TILE_SIZE": "128",
        "HYSEG_EVALUATE_TILE_SIZE": "128",
        "HYSEG_TRAIN_PRIOR_STEPS": "1",
        "HYSEG_TRAIN_STEPS": "1",
        "HYSEG_TRAIN_BATCH_SIZE": "2",
        "HYSEG_TRAIN_CHIP_SIZE": "64",
        "HYSEG_TRAIN_DEVICE": "cpu",
        "HYSEG_PREDICT_DEVICE": "cpu",
    }.items():
        monkeypatch.setenv(name, value)
    return folder


# ---- running ----------------------------------------------------------------------------------


def run_block(block, folder):
    """The exit code of a block, and all that it said."""
    lines = block.text.replace("\\\n", " ").strip().splitlines()
    exported, told = {}, ""
    if not all(line.startswith("export ") or PLAIN.fullmatch(line) for line in lines):
        return in_bash(block.text, folder)
    for line in lines:
        if line.startswith("export "):
            exported |= dict(word.split("=") for word in shlex.split(line)[1:])
            continue
        # Here, not in bash: a process of its own would load PyTorch once more for each line.
        found = PLAIN.fullmatch(line)
        variables = exported | dict(word.split("=") for word in shlex.split(found["set"]))
        done = CliRunner(env=variables).invoke(cli, shlex.split(found["words"]))
        code, said = done.exit_code, done.output
        if found["pipe"] and code == 0:
            code, said = in_bash(found["pipe"].removeprefix("|"), folder, input=done.stdout)
        told += f"$ {line}\n{said}"
        if code != 0:
            return code, told
    return 0, told


def in_bash(text, folder, **more):
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", text],
        cwd=folder, capture_output=True, text=True, check=False, **more,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def run_page(page, folder, *, slow):
    blocks = blocks_of(page)
    written = " ".join(block.text.replace("\\\n", " ") for block in blocks if block.is_shell)
    for name in ("my.safetensors", "landcover.tif"):
        # What a page makes is not there before.
        if re.search(rf"hyseg (train|predict) [^\n]*--out {re.escape(name)}", written):
            for file in folder.glob(f"{name}*"):
                file.unlink()
    session = ""
    for block in blocks:
        if block.language in {"json", "toml"}:
            named = re.findall(rf"`([\w-]+\.{block.language})`", block.before)
            if named:
                (folder / named[-1]).write_text(block.text)
        if block.language == "python":
            # One page is one session: names of a block are known in those after it.
            session += block.text
            continue
        if not block.is_shell or block.mark.startswith("skip:"):
            continue
        if block.mark == "slow" and not slow:
            continue
        code, told = run_block(block, folder)
        assert code == block.exit_code, f"{page.name}:\n{block.text}\n{told}"
        if "hyseg sample" in block.text:
            label_points(folder / "points.gpkg", folder)
    if session and not slow:
        done = subprocess.run(
            [sys.executable, "-c", session],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{page.name}:\n{done.stdout}{done.stderr}"


def label_points(path, folder):
    """What a person does in a GIS: fill in the class of each point, here from the truth."""
    points = gpd.read_file(path)
    with rasterio.open(folder / "truth.tif") as file:
        seen = file.sample(zip(points.geometry.x, points.geometry.y, strict=True))
        found = [int(value[0]) for value in seen]
    legend = json.loads((folder / "legend.json").read_text())
    named = {entry["id"]: entry["name"] for entry in legend["classes"]}
    points["ref_class"] = [named.get(value) for value in found]
    points.to_file(path, layer="samples")


def has(page, *, slow):
    if not slow and any(block.language == "python" for block in blocks_of(page)):
        return True
    return any(
        block.is_shell and (block.mark == "slow" if slow else not block.mark.startswith(("s",)))
        for block in blocks_of(page)
    )


def names(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if has(p, slow=False)], ids=names)
def test_the_blocks_of_a_page_run(page, place):
    run_page(page, place, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if has(p, slow=True)], ids=names)
def test_all_blocks_of_a_page_run(page, place):
    run_page(page, place, slow=True)


# ---- what can be said without running ---------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_marks_and_data_of_a_page_are_sound(page):
    text = page.read_text(encoding="utf-8")
    marked = [block for block in blocks_of(page) if block.mark]
    assert text.count("<!-- test:") == len(marked), "a mark stands right above its block"
    assert all(re.fullmatch(r"slow|exit \d+|skip: \w.*", block.mark) for block in marked)
    for block in blocks_of(page):
        assert block.language, "a block says what it is: sh, json, toml or text"
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "toml":
            tomllib.loads(block.text)


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_what_does_not_run_here_can_be_typed(page):
    for block in blocks_of(page):
        if block.is_shell and block.mark.startswith(("slow", "skip")):
            if block.mark == "skip: after merge":
                continue
            for line in commands_in(block.text):
                require_options(line)


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_no_command_stands_outside_a_block_that_runs(page):
    """Markdown takes indented lines for code, too; nothing would run them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    programs = "hyseg|python|pip|make|torchrun|srun|sbatch|ray|kubectl|PARTS"
    found = re.findall(rf"^(?: {{4,}}|\t)(?:{programs})\b.*", text, re.MULTILINE)
    assert found == [], "put it between ```sh and ```, with a mark if it cannot run here"


def test_few_blocks_are_skipped():
    blocks = [block for page in PAGES for block in blocks_of(page) if block.is_shell]
    skipped = [block.text for block in blocks if block.mark.startswith("skip:")]
    assert len(skipped) <= MOST_SKIPPED, skipped
    assert len(blocks) >= 3 * len(skipped)


def test_the_runner_tells_a_block_that_fails(place):
    """The oracle of this file: a block that is wrong must not pass."""
    page = place / "page.md"
    page.write_text("```sh\nhyseg predict scene.tif --out x.tif --no-such-flag\n```\n")
    with pytest.raises(AssertionError, match="no-such-flag"):
        run_page(page, place, slow=False)
    page.write_text("```sh\nfalse | cat\n```\n")
    with pytest.raises(AssertionError):
        run_page(page, place, slow=False)
    page.write_text("<!-- test: exit 2 -->\n```sh\nhyseg predict none.tif --out x.tif\n```\n")
    run_page(page, place, slow=False)
    assert np.array_equal(has(page, slow=False), True)
