"""Maps, probabilities and points that reports are made of."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from hyseg_cli.cli.group import cli
from hyseg_cli.learn.model.weights import load_model, save_model
from hyseg_cli.legend import Legend

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NAMES = ('open <water> & "ice"', "land", "road", "never seen")
COLORS = ("#2060c0", "#c0a060", "#707070", "#ff00ff")
LEGEND = json.dumps(
    {
        "classes": [
            {"id": i, "name": name, "color": color}
            for i, (name, color) in enumerate(zip(NAMES, COLORS, strict=True))
        ]
    }
)


@pytest.fixture
def evaluate():
    """Run `hyseg evaluate ... --json` and return its numbers."""

    def run(*arguments):
        result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments), "--json"])
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return run


@pytest.fixture
def classes():
    """A blocky truth and a map that is wrong in places, with unknown pixels in each."""
    rng = np.random.default_rng(4)
    truth = np.kron(rng.integers(0, 3, (30, 40)), np.ones((10, 9), int)).astype(np.uint8)
    found = np.roll(truth, 1, axis=1)
    found[rng.random(found.shape) < 0.05] = 0
    truth[20:30, 50:80], found[100:110, :40] = 255, 255
    return found, truth


@pytest.fixture
def write_map(write_raster):
    """A class raster that carries its legend."""

    def write(array, name, **tags):
        path = write_raster(array, name, nodata=255)
        with rasterio.open(path, "r+") as file:
            file.update_tags(HYSEG_LEGEND=LEGEND, **tags)
        return path

    return write


@pytest.fixture
def pair(write_map, classes):
    """Paths of a map and of the truth."""
    found = write_map(classes[0], "map.tif", HYSEG_MODEL="0123456789abcdef")
    return found, write_map(classes[1], "truth.tif")


@pytest.fixture
def probabilities(write_raster, classes):
    """Probabilities of the map, too sure of themselves."""
    found, _ = classes
    rng = np.random.default_rng(5)
    sure = rng.integers(150, 255, found.shape)
    levels = np.stack([np.where(found == c, sure, (254 - sure) // 3) for c in range(len(NAMES))])
    path = write_raster(levels.astype(np.uint8), "p.tif")
    with rasterio.open(path, "r+") as file:
        file.descriptions = NAMES
        file.update_tags(HYSEG_LEGEND=LEGEND)
    return path


@pytest.fixture
def points(tmp_path, pair, classes):
    """Points drawn from the map and labelled as the truth has it."""
    path = tmp_path / "points.gpkg"
    result = CliRunner().invoke(cli, ["sample", str(pair[0]), "--out", str(path), "--count", "300"])
    assert result.exit_code == 0, result.stderr
    frame = gpd.read_file(path)
    with rasterio.open(pair[0]) as file:
        places = frame.to_crs(file.crs).geometry
        left, top, side = file.bounds.left, file.bounds.top, file.res[0]
    rows, cols = (top - places.y) // side, (places.x - left) // side
    truth = classes[1][rows.astype(int), cols.astype(int)]
    frame["ref_class"] = [None if value == 255 else NAMES[value] for value in truth]
    frame.to_file(path, layer="samples")
    return path


@pytest.fixture(scope="session")
def named_model(tmp_path_factory, lively_model):
    """A model with a class whose name is no HTML."""
    model = load_model(lively_model)
    first, *rest = model.card.legend.classes
    card = replace(model.card, legend=Legend((replace(first, name=NAMES[0]), *rest)))
    path = tmp_path_factory.mktemp("named") / "named.safetensors"
    save_model(path, model.network, card)
    return path


@pytest.fixture(scope="session")
def mapped(tmp_path_factory, scene_folder, named_model):
    """The page of a scene, and the numbers of the run that wrote it."""
    folder = tmp_path_factory.mktemp("mapped")
    page = folder / "page.html"
    scene = scene_folder / "images" / "east.tif"
    arguments = ["predict", scene, "-m", named_model, "-o", folder / "map.tif", "--report", page]
    more = ["--confidence", folder / "sure.tif", "--tile-size", 128, "--json"]
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments + more])
    assert result.exit_code == 0, result.output
    return page, json.loads(result.stdout)


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed (pip install hyseg[browser])"
    )
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as started:
        # The sandbox needs rights that containers do not give; the page is our own.
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def show(browser):
    """Open a page, and list what it complains of or asks for beside itself."""
    contexts = []

    def open_page(path, viewport, **options):
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        page, noise = context.new_page(), []
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("data:", path.as_uri())) or noise.append(request.url)
            ),
        )
        page.goto(path.as_uri())
        return page, noise

    yield open_page
    for context in contexts:
        context.close()
