"""Algorithms of the plugin in QGIS without a window: with a fake hyseg, then with the real one."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from rasters import write_geotiff

from hyseg_cli.legend import format_color
from hyseg_cli.workflows.qgis import PLUGIN, install, write_zip

pytestmark = [pytest.mark.qgis, pytest.mark.timeout(600)]

PYTHON = os.environ.get("QGIS_PYTHON", "/usr/bin/python3")
HERE = Path(__file__).parent
SQUARES = [
    ["POLYGON ((500005 5399995, 500010 5399995, 500010 5399990, 500005 5399995))", "water"],
    ["POLYGON ((500015 5399995, 500020 5399995, 500020 5399990, 500015 5399995))", "land"],
]
TEMPORARY = "TEMPORARY_OUTPUT"
UNSAVED = {"kind": "Polygon", "crs": "EPSG:32632", "field": "kind", "shapes": SQUARES}


def run_jobs(plugins, jobs, folder, **variables):
    """What became of jobs, in one QGIS; its Python must not see the packages of this one."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "GDAL_DATA", "PROJ_DATA", "PROJ_LIB")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    env |= {
        "QT_QPA_PLATFORM": "offscreen",
        "QGIS_CUSTOM_CONFIG_PATH": str(folder / "config"),
        "XDG_RUNTIME_DIR": str(folder),
        **variables,
    }
    done = subprocess.run(
        [PYTHON, HERE / "run_algorithms.py", plugins],
        env=env, input=json.dumps(jobs), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module", autouse=True)
def _qgis():
    found = Path(PYTHON).exists() and subprocess.run(
        [PYTHON, "-c", "import qgis.core"], check=False, capture_output=True
    )
    if not found or found.returncode:
        pytest.skip(f"{PYTHON} has no qgis.core (see tests/qgis/install_and_check.sh)")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder whose name has spaces and umlauts, with a scene, a map and other rasters in it."""
    folder = tmp_path_factory.mktemp("qgis") / "Höhe & Länge"
    folder.mkdir()
    write_geotiff(folder / "Szene eins.tif", np.full((3, 64, 64), 90, np.uint8))
    classes = np.ones((1, 64, 64), np.uint8)
    for name in ("Karte.tif", "truth.tif", "sure.tif"):
        write_geotiff(folder / name, classes)
    return folder


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """Where the plugin lies, without the program that installed it being known to it."""
    profile = tmp_path_factory.mktemp("profile")
    found = install(str(profile) + os.sep).plugin
    (found / "program.json").unlink()
    assert found.name == PLUGIN
    return found.parent


@pytest.fixture(scope="module")
def fake(place):
    path = place / "fake" / "hyseg"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "fake_hyseg.py"}" "$@"\n')
    path.chmod(0o755)
    return path


# ---- a fake hyseg -----------------------------------------------------------------------------


def jobs_of(place):
    """For each algorithm its parameters, and the arguments that hyseg has to be given."""
    scene, classes = str(place / "Szene eins.tif"), str(place / "Karte.tif")
    out = {name: str(place / name) for name in ("o.tif", "c.tif", "o.gpkg", "o.html")}
    model = str(place / "mein modell.safetensors")
    polygons = str(place / "mein modell.polygons-*.gpkg")
    return {
        "mapscene": (
            {
                "SCENE": scene, "MODEL": "köln", "OUTPUT": out["o.tif"],
                "CONFIDENCE": out["c.tif"], "VIEWS": 2, "EXTRA": '--collar "none"',
                "EXTENT": "500010,500020,5399980,5399990 [EPSG:32632]",
            },
            ["predict", scene, "--out", out["o.tif"], "--style", "--overwrite",
             "--model", "köln", "--bounds=500010.0,5399980.0,500020.0,5399990.0",
             "--tta", "d4", "--confidence", out["c.tif"], "--collar", "none"],
        ),
        "maptopolygons": (
            {"MAP": classes, "MMU": 2.5, "SIMPLIFY": 0.75, "OUTPUT": out["o.gpkg"],
             "CONFIDENCE": str(place / "sure.tif"), "DISSOLVE": True},
            ["vectorize", classes, "--out", out["o.gpkg"], "--overwrite", "--mmu", "2.5m2",
             "--smooth", "--simplify", "1.5px", "--confidence", str(place / "sure.tif"),
             "--dissolve"],
        ),
        "trainonpolygons": (
            {"SCENE": scene, "FIELD": "kind", "MODEL": "default", "OUTPUT": model,
             "EFFORT": 1, "HELD_OUT": 0.2},
            ["train", "--images", scene, "--labels", polygons, "--class-field", "kind",
             "--out", model, "--overwrite", "--from", "default",
             "--prior-steps", "0", "--steps", "100", "--no-resume", "--val-split", "0.2"],
        ),
        "suggestwheretodraw": (
            {"SCENE": scene, "MODEL_FILE": model, "COUNT": 7, "FIELD": "kind",
             "OUTPUT": out["o.gpkg"]},
            ["suggest", scene, "--out", out["o.gpkg"], "--overwrite", "--model", model,
             "--labels", "*.gpkg", "--class-field", "kind", "--count", "7"],
        ),
        "comparewithreference": (
            {"MAP": classes, "REFERENCE": str(place / "truth.tif"), "STRUCTURE": True,
             "OUTPUT": out["o.html"]},
            ["evaluate", classes, "--reference", str(place / "truth.tif"), "--structure",
             "--report", out["o.html"], "--overwrite", "--json"],
        ),
        "sampleforaccuracy": (
            {"MAP": classes, "COUNT": 3, "ALLOCATION": 2, "APART": 5, "OUTPUT": out["o.gpkg"]},
            ["sample", classes, "--out", out["o.gpkg"], "--overwrite", "--json", "--count", "3",
             "--allocation", "equal", "--min-distance", "10.000000px", "--seed", "0"],
        ),
        "accuracyfrompoints": (
            {"MAP": classes, "FIELD": "kind", "OUTPUT": out["o.html"]},
            ["evaluate", classes, "--samples", "*.gpkg", "--field", "kind",
             "--report", out["o.html"], "--overwrite"],
        ),
        "changes": (
            {"OLD": classes, "NEW": str(place / "truth.tif"), "OUTPUT": out["o.tif"]},
            ["change", classes, str(place / "truth.tif"), "--out", out["o.tif"], "--style",
             "--overwrite"],
        ),
        "facts": (
            {"RASTER": classes, "MODEL": "köln", "OUTPUT": out["o.html"]},
            ["info", classes, "--model", "köln"],
        ),
    }  # fmt: skip


LAYERS = {
    "trainonpolygons": {"POLYGONS": UNSAVED},
    "suggestwheretodraw": {"POLYGONS": UNSAVED},
    "accuracyfrompoints": {
        "POINTS": {
            **UNSAVED, "kind": "Point", "field": "kind",
            "shapes": [["POINT (500010 5399990)", "land"]],
        }
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def faked(place, plugins, fake, tmp_path_factory):
    """Every algorithm run once to its end: what QGIS told, and what hyseg was called with."""
    notes = tmp_path_factory.mktemp("notes") / "notes.jsonl"
    jobs = jobs_of(place)
    told = run_jobs(
        plugins,
        [
            {
                "algorithm": f"hyseg:{name}", "parameters": values, "setting": str(fake),
                "layers": LAYERS.get(name, {}), "environment": {"FAKE_NOTES": str(notes)},
            }
            for name, (values, _) in jobs.items()
        ],
        place.parent,
    )  # fmt: skip
    calls = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    calls = [call for call in calls if call["words"][0] != "models"]
    assert [job["errors"] for job in told["jobs"] if not job["done"]] == []
    assert told["algorithms"] == sorted(f"hyseg:{name}" for name in jobs)
    found = zip(told["jobs"], calls, strict=True)
    return dict(zip(jobs, found, strict=True))


NAMES = tuple(jobs_of(Path("place")))


@pytest.mark.parametrize("name", NAMES)
def test_an_algorithm_gives_hyseg_the_arguments_of_its_form(faked, place, name):
    told, call = faked[name]
    assert told["fits"], told["misfit"]
    assert told["done"], told["errors"]
    wanted = [*jobs_of(place)[name][1], "--log-format", "json"]
    assert len(call["words"]) == len(wanted), call["words"]
    for word, expected in zip(call["words"], wanted, strict=True):
        assert Path(word).match(expected) if "*" in expected else word == expected


@pytest.mark.parametrize("name", NAMES)
def test_an_algorithm_passes_on_progress_notes_and_warnings(faked, name):
    told, _ = faked[name]
    assert told["progress"][:4] == [25.0, 50.0, 75.0, 100.0]
    assert "a note: ä" in told["info"]
    assert told["warnings"] == ["a doubt"]
    assert told["errors"] == []


@pytest.mark.parametrize("name", NAMES)
def test_hyseg_has_the_options_that_an_algorithm_gives_it(faked, name):
    from test_docs import require_options

    from hyseg_cli.cli.group import COMMANDS

    words = faked[name][1]["words"]
    if words[0] not in COMMANDS:
        pytest.skip(f"there is no hyseg {words[0]} yet")
    require_options(shlex.join(["hyseg", *words]))


def test_models_are_offered_that_can_map(faked):
    assert faked["mapscene"][0]["models"] == ["default", "köln"]


def test_polygons_that_were_never_saved_are_written_with_their_class(faked):
    words = faked["trainonpolygons"][1]["words"]
    read = gpd.read_file(words[words.index("--labels") + 1])
    assert list(read["kind"]) == ["water", "land"]
    assert read.crs.to_epsg() == 32632
    assert [shape.wkt for shape in read.geometry] == [shapely.from_wkt(w).wkt for w, _ in SQUARES]


def test_scores_are_outputs_that_a_model_of_qgis_can_use(faked):
    results = faked["comparewithreference"][0]["results"]
    assert (results["ACCURACY"], results["MEAN_IOU"]) == (0.75, 0.5)


@pytest.fixture(scope="module")
def odd(place, plugins, fake, tmp_path_factory):
    """Runs that go wrong or have something odd in them, by what it is."""
    notes = tmp_path_factory.mktemp("notes") / "notes.jsonl"
    values = jobs_of(place)["mapscene"][0]
    training = jobs_of(place)["trainonpolygons"][0]
    begun = place / "begun.run"
    begun.mkdir()
    (begun / "run.json").write_text("{}")
    jobs = {
        "missing": {"setting": "/none/hyseg"},
        "nowhere": {"setting": "", "environment": {"PATH": "", "HYSEG": ""}},
        "variable": {"setting": "", "environment": {"HYSEG": str(fake)}},
        "fail": {"environment": {"FAKE_DEED": "fail"}},
        "cancel": {"environment": {"FAKE_DEED": "wait"}, "cancel_after": 1.0},
        "selected": {
            "algorithm": "hyseg:trainonpolygons", "parameters": training,
            "layers": {"POLYGONS": {**UNSAVED, "selected": "kind = 'land'"}},
        },
        "quick": {
            "algorithm": "hyseg:trainonpolygons",
            "parameters": {
                "SCENE": training["SCENE"], "FIELD": "kind", "OUTPUT": training["OUTPUT"],
            },
            "layers": {"POLYGONS": UNSAVED},
        },
        "quick and held out": {
            "algorithm": "hyseg:trainonpolygons", "parameters": {**training, "EFFORT": 0},
            "layers": {"POLYGONS": UNSAVED},
        },
        "temporary": {
            "parameters": {**values, "OUTPUT": TEMPORARY, "CONFIDENCE": TEMPORARY},
        },
        "temporary page": {
            "algorithm": "hyseg:facts",
            "parameters": {"RASTER": values["SCENE"], "OUTPUT": TEMPORARY},
        },
        "stopped": {
            "algorithm": "hyseg:trainonpolygons",
            "parameters": {**training, "OUTPUT": str(place / "begun.safetensors")},
            "layers": {"POLYGONS": UNSAVED},
        },
        "no reference": {
            "algorithm": "hyseg:comparewithreference",
            "parameters": {"MAP": str(place / "Karte.tif"), "OUTPUT": str(place / "o.html")},
        },
        "quote": {"parameters": {**values, "EXTRA": 'an "open quote'}},
        "polygons": {
            "algorithm": "hyseg:comparewithreference",
            "parameters": {
                "MAP": str(place / "Karte.tif"), "FIELD": "kind",
                "OUTPUT": str(place / "o.html"),
            },
            "layers": {"POLYGONS": UNSAVED},
        },
    }  # fmt: skip
    usual = {"algorithm": "hyseg:mapscene", "parameters": values, "setting": str(fake)}
    path = {"PATH": os.environ["PATH"], "FAKE_NOTES": str(notes), "FAKE_DEED": "end"}
    wanted = [
        {**usual, **job, "environment": {**path, **job.get("environment", {})}}
        for job in jobs.values()
    ]
    told = run_jobs(plugins, wanted, place.parent)["jobs"]
    calls = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()]
    return dict(zip(jobs, told, strict=True)), [call for call in calls if "--out" in call["words"]]


@pytest.mark.parametrize("name", ["missing", "nowhere"])
def test_without_a_program_the_form_says_what_to_type(odd, name):
    told = odd[0][name]
    assert not told["can"]
    assert "hyseg qgis install" in told["why"]
    assert not told["done"]


def test_the_variable_is_enough_to_find_the_program(odd):
    assert odd[0]["variable"]["done"]


def test_a_zip_unpacked_into_an_empty_folder_is_the_plugin(place, fake, tmp_path):
    write_zip(tmp_path / "hyseg_qgis.zip")
    zipfile.ZipFile(tmp_path / "hyseg_qgis.zip").extractall(tmp_path / "plugins")
    variables = {"HYSEG": str(fake), "FAKE_NOTES": str(tmp_path / "notes"), "FAKE_DEED": "end"}
    job = {
        "algorithm": "hyseg:mapscene", "parameters": jobs_of(place)["mapscene"][0],
        "environment": variables,
    }  # fmt: skip
    told = run_jobs(tmp_path / "plugins", [job], tmp_path)
    assert told["jobs"][0]["done"], told["jobs"][0]["errors"]


def test_an_error_of_hyseg_is_the_error_of_the_algorithm(odd):
    told = odd[0]["fail"]
    assert not told["done"]
    assert told["errors"] == [
        "the scene has 1 band, the model needs 3\nChoose another model."
    ]  # fmt: skip


def test_cancelling_ends_the_program_and_says_how_to_go_on(odd):
    told = odd[0]["cancel"]
    assert told["results"] == {}
    assert "Terminated." in told["warnings"]
    assert "same output file" in told["info"][-1]


def test_only_selected_polygons_are_trained_on(odd):
    words = next(call["words"] for call in odd[1] if call["words"][0] == "train")
    assert list(gpd.read_file(words[words.index("--labels") + 1])["kind"]) == ["land"]


def test_a_quick_training_asks_for_a_new_head_alone(odd):
    assert odd[0]["quick"]["done"]
    words = [call["words"] for call in odd[1] if call["words"][0] == "train"][1]
    assert words[words.index("--preset") + 1] == "probe"
    assert not {"--resume", "--no-resume", "--val-split", "--steps"} & set(words)


def test_a_quick_training_holds_nothing_out_and_says_so(odd):
    assert not odd[0]["quick and held out"]["fits"]
    assert "whole network" in odd[0]["quick and held out"]["misfit"]


def test_outputs_without_a_name_are_where_hyseg_was_bid_to_write_them(odd):
    words = next(
        call["words"] for call in odd[1]
        if call["words"][0] == "predict" and "processing_" in " ".join(call["words"])
    )  # fmt: skip
    assert odd[0]["temporary"]["results"] == {
        "OUTPUT": words[words.index("--out") + 1],
        "CONFIDENCE": words[words.index("--confidence") + 1],
    }
    assert Path(odd[0]["temporary page"]["results"]["OUTPUT"]).suffix == ".html"


def test_a_training_that_was_cancelled_goes_on(odd):
    words = [call["words"] for call in odd[1] if call["words"][0] == "train"][-1]
    assert "--resume" in words
    assert "--no-resume" not in words


def test_a_comparison_asks_for_a_reference(odd):
    assert not odd[0]["no reference"]["fits"]
    assert "reference" in odd[0]["no reference"]["misfit"]


def test_a_quote_that_is_not_closed_is_an_error_in_words(odd):
    assert "More options" in odd[0]["quote"]["errors"][0]


# ---- the real one -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(plugins, scene_folder, lively_model, tmp_path_factory):
    """A scene mapped, sampled, compared and turned into polygons by the real hyseg."""
    folder = tmp_path_factory.mktemp("real") / "in QGIS, größer"
    folder.mkdir()
    program = folder / "hyseg"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hyseg_cli "$@"\n')
    program.chmod(0o755)
    scene, truth = scene_folder / "images" / "east.tif", scene_folder / "labels" / "east.tif"
    files = {name: str(folder / name) for name in ("map.tif", "p.gpkg", "s.gpkg")}
    values = {
        "mapscene": {
            "SCENE": str(scene), "MODEL_FILE": str(lively_model), "OUTPUT": files["map.tif"],
            "CONFIDENCE": TEMPORARY, "EXTRA": "--tile-size 128 --device cpu",
        },
        "maptopolygons": {"MAP": files["map.tif"], "MMU": 4, "SIMPLIFY": 0.5,
                          "OUTPUT": files["p.gpkg"]},
        "sampleforaccuracy": {"MAP": files["map.tif"], "COUNT": 60, "ALLOCATION": 1,
                              "OUTPUT": files["s.gpkg"]},
        "comparewithreference": {"MAP": files["map.tif"], "REFERENCE": str(truth),
                                 "OUTPUT": str(folder / "page.html")},
        "facts": {"RASTER": files["map.tif"], "OUTPUT": str(folder / "facts.html")},
    }  # fmt: skip
    loads = {"mapscene": ["OUTPUT", "CONFIDENCE"], "maptopolygons": ["OUTPUT"],
             "sampleforaccuracy": ["OUTPUT"]}  # fmt: skip
    told = run_jobs(
        plugins,
        [
            {"algorithm": f"hyseg:{name}", "parameters": given, "setting": str(program),
             "load": loads.get(name)}
            for name, given in values.items()
        ],
        folder.parent,
    )  # fmt: skip
    jobs = dict(zip(values, told["jobs"], strict=True))
    for job in jobs.values():
        assert job["done"], job["errors"]
    return jobs, folder


def test_a_map_is_loaded_with_its_name_and_the_colours_of_the_legend(real, legend):
    layers = {layer["name"]: layer for layer in real[0]["mapscene"]["layers"]}
    assert set(layers) == {"Land cover of east", "Confidence of east"}
    assert layers["Land cover of east"]["classes"] == [
        [c.id, c.name, format_color(c.color)] for c in legend.classes
    ]


def test_polygons_are_loaded_with_the_colours_of_the_legend(real, legend):
    (layer,) = real[0]["maptopolygons"]["layers"]
    assert layer["name"] == "Land cover of east (polygons)"
    assert layer["features"] > 1
    known = {c.name: format_color(c.color) for c in legend.classes}
    assert dict(layer["classes"]).items() <= known.items()


def test_points_are_loaded_with_a_form_to_choose_the_class_from(real, legend):
    (layer,) = real[0]["sampleforaccuracy"]["layers"]
    assert layer["features"] == 60
    offered = {name for entry in layer["forms"]["ref_class"]["map"] for name in entry}
    assert offered <= set(legend.names)
    assert offered


def test_a_comparison_leaves_a_page_and_its_scores(real):
    jobs, folder = real
    assert "<html" in (folder / "page.html").read_text(encoding="utf-8")
    assert 0 <= jobs["comparewithreference"]["results"]["MEAN_IOU"] <= 1
    assert 0 <= jobs["comparewithreference"]["results"]["ACCURACY"] <= 1


def test_facts_of_a_map_name_its_classes(real, legend):
    text = real[0]["facts"]["results"]["TEXT"]
    with rasterio.open(real[1] / "map.tif") as file:
        present = np.unique(file.read(1))
    for entry in legend.classes:
        assert entry.id not in present or entry.name in text
