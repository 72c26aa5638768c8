"""`hyseg predict --preview` and `--report`: when they are written, and what they show."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image

from hyseg_cli.cli.group import cli
from hyseg_cli.errors import HysegError
from hyseg_cli.workflows.predict import outputs as documents


@pytest.fixture
def scene(scene_folder):
    return scene_folder / "images" / "east.tif"


@pytest.fixture
def predict(lively_model):
    def run(*arguments):
        options = ["-m", lively_model, "--tile-size", 128, "--json"]
        return CliRunner().invoke(cli, [str(a) for a in ("predict", *arguments, *options)])

    return run


def pixels_of(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_the_preview_shows_scene_and_map(scene, tmp_path, predict, legend):
    out, preview = tmp_path / "map.tif", tmp_path / "preview.png"
    result = predict(scene, "-o", out, "--preview", preview)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert str(preview) in told["outputs"]
    canvas = pixels_of(preview)
    side = documents.PREVIEW_SIDE
    with rasterio.open(out) as file, rasterio.open(scene) as image:
        ids, colors = file.read(1), np.moveaxis(image.read(), 0, -1)
        colors[image.dataset_mask() == 0] = 255
    table = np.full((256, 3), 255, np.uint8)
    table[list(legend.ids)] = [entry.color for entry in legend.classes]
    # Both are enlarged by the same whole number of nearest pixels, but for the last one.
    rows = (np.arange(side) + 0.5) * 256 // side
    grid = np.ix_(rows.astype(int), rows.astype(int))
    top, left = np.argwhere((canvas != 255).any(axis=-1).sum(axis=1) > side)[0][0] + 1, 24
    for index, expected in enumerate((colors, table[ids])):
        x = left + index * (side + 16)
        shown = canvas[top : top + side, x : x + side]
        assert (shown == expected[grid]).all(axis=-1).mean() > 0.98


def test_the_photo_shows_what_is_mapped_and_no_more(scene, tmp_path, predict, monkeypatch):
    seen = []
    monkeypatch.setattr(
        documents, "draw_preview", lambda p: seen.append(p) or Image.new("RGB", (1, 1))
    )
    with rasterio.open(scene) as file:
        left, bottom, right, top = file.bounds
        whole = np.moveaxis(file.read(), 0, -1)
    middle = (left + right) / 2
    bounds = f"{middle},{bottom},{right},{top}"
    out, preview = tmp_path / "map.tif", tmp_path / "preview.png"
    result = predict(scene, "-o", out, "--bounds", bounds, "--preview", preview)
    assert result.exit_code == 0, result.output
    photo = seen[0].pictures[0][1]
    assert photo.shape == (documents.PREVIEW_SIDE, documents.PREVIEW_SIDE // 2, 3)
    rows = ((np.arange(photo.shape[0]) + 0.5) * 256 / photo.shape[0]).astype(int)
    cols = 128 + ((np.arange(photo.shape[1]) + 0.5) * 128 / photo.shape[1]).astype(int)
    assert (photo == whole[np.ix_(rows, cols)]).all(axis=-1).mean() > 0.98
    resolution = (right - left) / 256
    assert seen[0].pixel_m == pytest.approx(resolution * 256 / photo.shape[0], rel=0.01)
    assert seen[0].north == pytest.approx((0.0, -1.0), abs=0.05)
    assert "EPSG:32632" in seen[0].lines[0]


def test_folders_get_a_document_of_each_scene(scene_folder, tmp_path, predict):
    out, looks = tmp_path / "maps", tmp_path / "looks"
    arguments = (scene_folder / "images", "-o", out, "--preview", looks, "--report", looks)
    result = predict(*arguments, "--context")
    assert result.exit_code == 0, result.output
    names = {f"{scene}_{what}" for scene in ("east", "west") for what in DOCUMENTS}
    assert {path.name for path in looks.iterdir()} == names
    assert predict(*arguments).exit_code == 6  # each scene: the outputs exist
    assert predict(*arguments, "--skip-existing").exit_code == 0
    # Nothing that was drawn is taken for a scene.
    shutil.copyfile(scene_folder / "images" / "east.tif", looks / "south.tif")
    listed = predict(looks, "-o", tmp_path / "more", "--dry-run")
    assert json.loads(listed.stdout)["scene"] == str(looks / "south.tif")


DOCUMENTS = ("preview_hyseg.png", "report_hyseg.html")


def test_what_is_no_picture_or_page_is_refused_before_any_work(scene, tmp_path, predict):
    out = tmp_path / "map.tif"
    for flag, name in (("--preview", "x.jpg"), ("--report", "x.pdf")):
        result = predict(scene, "-o", out, flag, tmp_path / name)
        assert result.exit_code == 2, result.output
        assert flag in result.stderr
    result = predict(scene, "-o", out, "--preview", tmp_path / "none" / "x.png")
    assert result.exit_code == 2
    kept = tmp_path / "kept.png"
    kept.write_text("mine")
    result = predict(scene, "-o", out, "--preview", kept)
    assert result.exit_code == 3
    assert "Use another --preview, or --overwrite." in result.stderr
    assert kept.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["kept.png"]
    file = tmp_path / "file"
    file.touch()
    result = predict(scene.parent, "-o", tmp_path / "maps", "--report", file)
    assert result.exit_code == 2
    assert "Give --report the name of a folder." in result.stderr


def test_the_map_gets_its_name_after_the_documents(scene, tmp_path, predict, monkeypatch):
    out, preview = tmp_path / "map.tif", tmp_path / "preview.png"
    write, calls = documents.write_bytes, []

    def fail_once(path, content):
        calls.append(out.exists())
        if len(calls) == 1:
            message = "the disk is full"
            raise HysegError(message, hint="Free some space.")
        write(path, content)

    monkeypatch.setattr(documents, "write_bytes", fail_once)
    failed = predict(scene, "-o", out, "--preview", preview)
    assert failed.exit_code == 1
    assert not out.exists()
    again = predict(scene, "-o", out, "--preview", preview)
    assert again.exit_code == 0, again.output
    assert "resuming" in again.stderr
    assert calls == [False, False]
    assert preview.stat().st_size > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "map.tif",
        "map.tif.aux.xml",
        "preview.png",
    ]


def test_a_run_that_was_killed_between_document_and_map_goes_on(
    scene, tmp_path, predict, monkeypatch
):
    from hyseg_cli.workflows.predict import mapping

    out, preview = tmp_path / "map.tif", tmp_path / "preview.png"

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(mapping, "put_in_place", die)
        assert predict(scene, "-o", out, "--preview", preview).exit_code == 130
    assert preview.exists()
    result = predict(scene, "-o", out, "--preview", preview)
    assert result.exit_code == 0, result.output
    assert out.exists()


def test_documents_may_be_asked_for_when_parts_are_merged(scene, tmp_path, predict):
    out, preview = tmp_path / "map.tif", tmp_path / "preview.png"
    assert predict(scene, "-o", out, "--shard", "1/1").exit_code == 0
    result = predict(scene, "-o", out, "--merge", "--preview", preview)
    assert result.exit_code == 0, result.output
    assert preview.exists()


@pytest.mark.filterwarnings("ignore:The given matrix is equal:Warning")
def test_a_scene_without_place_is_shown_too(write_raster, tmp_path, predict):
    from affine import Affine

    image = np.random.default_rng(0).integers(0, 255, (3, 40, 900), np.uint8)
    path = write_raster(image, crs=None, transform=Affine.identity())
    preview, page = tmp_path / "p.png", tmp_path / "p.html"
    result = predict(path, "-o", tmp_path / "m.tif", "--preview", preview, "--report", page)
    assert result.exit_code == 0, result.output
    assert pixels_of(preview).shape[1] >= 900
    assert "Area in ha" not in page.read_text(encoding="utf-8")
