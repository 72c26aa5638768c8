"""The arrows of the house: who may import whom, and what `--help` may load."""

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
import rasterio

import hyseg_models
from hyseg_cli.cli.group import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "hyseg_cli").rglob("*.py")) + sorted((ROOT / "models").rglob("*.py"))

BASE = {"hyseg_cli", "hyseg_cli.errors"}
LEGEND = {"hyseg_cli.legend"}
TELLING = {"hyseg_cli.messages"}
GEO = {"hyseg_cli.geo", "hyseg_cli.geo.raster", "hyseg_cli.geo.tiling", "hyseg_cli.geo.classes"}
WORKFLOW = {
    *BASE,
    *LEGEND,
    *TELLING,
    *GEO,
    "hyseg_cli.geo.output",
    "hyseg_cli.geo.vector",
    "hyseg_cli.settings",
    "hyseg_cli.startup",
    "hyseg_cli.workflows",
}
NETWORKS = {"hyseg_models", "hyseg_models.config"}

# What each room may import; a room may always import itself.
ALLOWED: dict[str, set[str]] = {
    "hyseg_cli": {"hyseg_cli.api", "hyseg_cli.errors"},
    "hyseg_cli.api": {
        "hyseg_cli.startup",
        *TELLING, *LEGEND, "hyseg_cli.learn.inference", "hyseg_cli.learn.model",
        "hyseg_cli.learn.scores", "hyseg_cli.report", "hyseg_cli.settings", "hyseg_cli.workflows",
        "hyseg_cli.workflows.evaluate", "hyseg_cli.workflows.few", "hyseg_cli.workflows.info",
        "hyseg_cli.workflows.predict",
        "hyseg_cli.workflows.train", "hyseg_cli.workflows.vectorize",
    },
    "hyseg_cli.errors": set(),
    "hyseg_cli.messages": set(),
    "hyseg_cli.startup": set(),
    "hyseg_cli.legend": {"hyseg_cli.errors"},
    "hyseg_cli.settings": BASE,
    "hyseg_cli.geo": BASE,
    "hyseg_cli.geo.raster": {*BASE, "hyseg_cli.geo"},
    "hyseg_cli.geo.tiling": {*BASE, "hyseg_cli.geo", "hyseg_cli.geo.raster"},
    "hyseg_cli.geo.classes": {*BASE, *LEGEND, *GEO},
    "hyseg_cli.geo.coverage": {
        *BASE, "hyseg_cli.geo", "hyseg_cli.geo.classes", "hyseg_cli.geo.raster",
    },
    "hyseg_cli.geo.output": {*BASE, *LEGEND, *GEO},
    "hyseg_cli.geo.vector": {
        *BASE, *LEGEND, *GEO, "hyseg_cli.geo.coverage", "hyseg_cli.startup",
    },
    "hyseg_cli.sampling": {*BASE, *LEGEND, *GEO, "hyseg_cli.geo.vector"},
    "hyseg_cli.learn.model": {*BASE, *LEGEND, *GEO, "hyseg_models.blocks", *NETWORKS},
    "hyseg_cli.learn.data": {
        *BASE, *LEGEND, *GEO, "hyseg_cli.geo.vector", "hyseg_cli.learn.model",
    },
    "hyseg_cli.learn.sources": {*BASE, *LEGEND, *GEO, "hyseg_cli.learn.data"},
    "hyseg_cli.learn.inference": {
        *BASE, *LEGEND, *GEO, "hyseg_cli.learn.model",
        "hyseg_models.blocks", "hyseg_models.tokens", *NETWORKS,
    },
    "hyseg_cli.learn.scores": {
        *BASE, *LEGEND, *GEO, "hyseg_cli.geo.coverage",
        "hyseg_cli.learn.data", "hyseg_cli.learn.inference",
    },
    "hyseg_cli.learn.training": {
        *BASE, *LEGEND, *TELLING, "hyseg_cli.geo", "hyseg_cli.learn.data",
        "hyseg_cli.learn.inference", "hyseg_cli.learn.scores", "hyseg_cli.learn.sources",
        "hyseg_models.blocks", "hyseg_models.prior", *NETWORKS,
    },
    "hyseg_cli.learn.few": {
        *BASE, *LEGEND, *GEO, "hyseg_cli.geo.vector", "hyseg_cli.learn.data",
        "hyseg_cli.learn.inference",
        "hyseg_cli.learn.model", "hyseg_models.blocks", "hyseg_models.tokens", *NETWORKS,
    },
    # What workers do is handed to it: it knows neither scenes nor models.
    "hyseg_cli.cluster": BASE,
    "hyseg_cli.workflows": {
        *WORKFLOW, "hyseg_cli.learn.data", "hyseg_cli.learn.sources", "hyseg_cli.sampling",
    },
    "hyseg_cli.workflows.predict": {
        *WORKFLOW, "hyseg_cli.cluster", "hyseg_cli.learn.inference", "hyseg_cli.learn.model",
        "hyseg_cli.learn.scores",
    },
    "hyseg_cli.workflows.export": {
        *WORKFLOW, "hyseg_cli.learn.inference", "hyseg_cli.learn.model",
    },
    "hyseg_cli.workflows.vectorize": {*WORKFLOW, "hyseg_cli.geo.coverage"},
    "hyseg_cli.workflows.train": {
        *WORKFLOW, *NETWORKS, "hyseg_cli.learn.data", "hyseg_cli.learn.few",
        "hyseg_cli.learn.inference", "hyseg_cli.learn.model", "hyseg_cli.learn.scores",
        "hyseg_cli.learn.sources", "hyseg_cli.learn.training", "hyseg_models.prior",
    },
    "hyseg_cli.workflows.few": {
        *WORKFLOW, *NETWORKS, "hyseg_cli.learn.data", "hyseg_cli.learn.few",
        "hyseg_cli.learn.inference", "hyseg_cli.learn.model", "hyseg_cli.learn.scores",
        "hyseg_cli.learn.training", "hyseg_cli.workflows.train",
    },
    "hyseg_cli.workflows.evaluate": {
        *WORKFLOW, "hyseg_cli.learn.data", "hyseg_cli.learn.inference", "hyseg_cli.learn.model",
        "hyseg_cli.learn.scores", "hyseg_cli.learn.sources", "hyseg_cli.sampling",
    },
    "hyseg_cli.workflows.info": {
        *WORKFLOW, *NETWORKS, "hyseg_cli.learn.data", "hyseg_cli.learn.inference",
        "hyseg_cli.learn.model", "hyseg_cli.learn.training", "hyseg_cli.sampling",
        "hyseg_cli.workflows.predict",
    },
    "hyseg_cli.report": {
        *BASE, *LEGEND, *TELLING, *GEO, "hyseg_cli.learn.model", "hyseg_cli.learn.scores",
        "hyseg_cli.settings", "hyseg_cli.workflows", "hyseg_cli.workflows.evaluate",
        "hyseg_cli.workflows.predict", "hyseg_cli.workflows.train",
    },
    "hyseg_cli.cli": {
        *BASE, *TELLING, "hyseg_cli.cli.commands", "hyseg_cli.settings", "hyseg_cli.startup",
    },
    "hyseg_cli.cli.commands": {
        *BASE, "hyseg_cli.cli", "hyseg_cli.report", "hyseg_cli.settings", "hyseg_cli.startup",
        "hyseg_cli.workflows", "hyseg_cli.workflows.evaluate", "hyseg_cli.workflows.export",
        "hyseg_cli.workflows.few", "hyseg_cli.workflows.info", "hyseg_cli.workflows.predict",
        "hyseg_cli.workflows.train",
        "hyseg_cli.workflows.vectorize",
    },
    # It runs in the Python of QGIS, which has no hyseg.
    "hyseg_cli.qgis_plugin": set(),
    "hyseg_cli.__main__": {"hyseg_cli.cli", "hyseg_cli.startup"},
    "hyseg_models": {
        "hyseg_models.blocks", "hyseg_models.config", "hyseg_models.das", "hyseg_models.hosts",
        "hyseg_models.prior", "hyseg_models.tokens",
    },
    "hyseg_models.config": set(),
    "hyseg_models.blocks": {"hyseg_models.config"},
    "hyseg_models.das": {"hyseg_models.blocks", "hyseg_models.config"},
    "hyseg_models.hosts": {"hyseg_models.blocks", "hyseg_models.config", "hyseg_models.das"},
    "hyseg_models.prior": {"hyseg_models.blocks", "hyseg_models.config", "hyseg_models.das"},
    "hyseg_models.tokens": {
        "hyseg_models.blocks", "hyseg_models.config", "hyseg_models.das", "hyseg_models.hosts",
    },
}  # fmt: skip
"""Rooms are folders, and the modules that stand loose in `hyseg_cli`."""

MOST_MODULES = 12
MOST_LINES = 500
FEW_LINES = 60
SMALL = {
    "hyseg_cli.learn.training.weight_blending": "one idea with its source",
    "hyseg_cli.learn.inference.side_by_side": "how tiles share threads, not what is done with them",
    "hyseg_models.variation": "one idea with its source",
    "hyseg_models.das.adapter": "DAS for hosts that have no place for it inside",
}
"""Modules of few lines that one other imports, and why they stand apart."""

FORBIDDEN = {
    "hyseg_cli.geo": {"torch", "click"},
    "hyseg_cli.sampling": {"torch", "click"},
    "hyseg_cli.cluster": {"torch", "click", "rasterio", "numpy"},
    "hyseg_cli.learn": {"click"},
    "hyseg_cli.workflows": {"click"},
    "hyseg_cli.report": {"click"},
}
"""Libraries that a room and all below it do without."""


def module_name(path: Path) -> str:
    base = ROOT / "models" if "models" in path.relative_to(ROOT).parts[:1] else ROOT
    return ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports, those it names for `import_module` among them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found |= {name for name in [beginning_of(node.args[0])] if name}
    return found


def beginning_of(text: ast.expr) -> str:
    """What is certain of a name: all of it, or what stands before the first placeholder."""
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    first = parts[0]
    is_text = isinstance(first, ast.Constant) and isinstance(first.value, str)
    return first.value.rstrip(".") if is_text else ""


def modules_among(names: set[str]) -> set[str]:
    """The modules of the project that names belong to, be they functions in them or modules."""
    modules = {module_name(path) for path in SOURCES}
    return {part for name in names for part in (name, name.rpartition(".")[0]) if part in modules}


def room_of(module: str) -> str:
    """The innermost room that holds a module or a name in it."""
    while module not in ALLOWED:
        module = module.rpartition(".")[0]
    return module


def arrows() -> dict[str, set[str]]:
    """The rooms that each room imports."""
    found: dict[str, set[str]] = {}
    for path in SOURCES:
        room = room_of(module_name(path))
        ours = {name for name in imports_of(path) if name.startswith(("hyseg_cli", "hyseg_models"))}
        found.setdefault(room, set()).update({room_of(name) for name in ours} - {room})
    return found


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_point_down(path):
    room = room_of(module_name(path))
    for imported in imports_of(path):
        top = imported.partition(".")[0]
        if top in ("hyseg_cli", "hyseg_models"):
            target = room_of(imported)
            assert target == room or target in ALLOWED[room], f"{imported} in {path.name}"
        for above, libraries in FORBIDDEN.items():
            if room == above or room.startswith(f"{above}."):
                assert top not in libraries


def test_no_two_rooms_import_each_other():
    # The version stands at the top of the house; the group of commands reaches them by their names.
    below = {room: found - {"hyseg_cli"} for room, found in arrows().items()}
    below["hyseg_cli.cli"] = below["hyseg_cli.cli"] - {"hyseg_cli.cli.commands"}
    order = TopologicalSorter(below)
    order.prepare()


@pytest.mark.parametrize(
    "arguments",
    [
        *([name, "--help"] for name in ("predict", "train", "evaluate", "sample", "info")),
        ["models", "list", "--help"],
        ["--help"],
        ["--version"],
    ],
)
def test_help_loads_neither_torch_nor_gdal(arguments):
    program = f"""
import sys
from hyseg_cli.cli.group import cli
try:
    cli({arguments!r})
except SystemExit as exit:
    assert exit.code == 0, exit.code
heavy = {{"torch", "rasterio", "numpy", "geopandas", "lightning", "rich", "ray"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)


def told_and_loaded(*arguments, code=0):
    """What a command prints, and the packages it loads; `code` is the exit code it has to have."""
    program = f"""
import sys
from hyseg_cli.cli.group import cli
try:
    cli({[str(word) for word in arguments]!r})
except SystemExit as exit:
    assert exit.code == {code}, exit.code
print()
print(*{{name.partition(".")[0] for name in sys.modules}})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, timeout=60, text=True
    )
    told, _, packages = done.stdout.rstrip("\n").rpartition("\n")
    return told, set(packages.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_loads_no_other(name):
    program = f"""
import sys
from hyseg_cli.cli.group import cli
try:
    cli(["{name}", "--help"])
except SystemExit as exit:
    assert exit.code == 0, exit.code
print()
print(*(name for name in sys.modules if name.startswith("hyseg_cli.cli.")))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, timeout=60, text=True
    )
    loaded = {module.rpartition(".")[2] for module in done.stdout.splitlines()[-1].split()}
    assert name in loaded
    assert not loaded & (set(COMMANDS) - {name}), loaded


NETWORK = {"torch", "timm", "torchvision", "lightning", "triton"}
"""What building and running networks takes, and seconds to load."""


def test_models_are_listed_without_loading_a_network():
    told, loaded = told_and_loaded("models", "list")
    assert "built in" in told
    assert not loaded & NETWORK


def test_the_folders_of_models_are_told_at_once():
    told, loaded = told_and_loaded("models", "path")
    assert "models" in told
    assert not loaded & {*NETWORK, "numpy", "safetensors", "rasterio"}


@pytest.mark.parametrize("kind", ["scene", "map"])
def test_rasters_are_told_of_without_loading_a_network(write_raster, tiny_model, kind):
    path = write_raster(np.full((3 if kind == "scene" else 1, 64, 64), 7, np.uint8))
    if kind == "map":
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {7: (200, 100, 50, 255)})
    told, loaded = told_and_loaded("info", path, "--model", tiny_model, "--json")
    assert json.loads(told)["kind"] == kind
    assert not loaded & NETWORK


@pytest.mark.parametrize("wrong", ["scene", "model", "folder"])
def test_wrong_names_are_told_before_a_network_is_loaded(write_raster, tiny_model, tmp_path, wrong):
    scene, model, out = write_raster(np.zeros((3, 64, 64))), tiny_model, tmp_path / "map.tif"
    match wrong:
        case "scene":
            scene = tmp_path / "none.tif"
        case "model":
            model = tmp_path / "none.safetensors"
        case "folder":
            out = tmp_path / "none" / "map.tif"
    _, loaded = told_and_loaded("predict", scene, "--model", model, "--out", out, code=2)
    assert not loaded & NETWORK


def test_configurations_are_there_without_torch_and_networks_when_asked_for():
    program = """
import sys
import hyseg_models
from hyseg_models import preset
preset("default")
assert "torch" not in sys.modules
assert set(hyseg_models.__all__) <= set(dir(hyseg_models))
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)
    for name in hyseg_models.__all__:
        assert getattr(hyseg_models, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'networks'"):
        _ = hyseg_models.networks


@pytest.mark.parametrize("line", ["hyseg pre", "hyseg predict --tt", "hyseg evaluate --split "])
def test_completion_loads_neither_torch_nor_gdal(line):
    program = """
import sys
from hyseg_cli.cli.group import cli
try:
    cli(prog_name="hyseg")
except SystemExit as exit:
    assert exit.code == 0, exit.code
heavy = {"torch", "rasterio", "numpy", "geopandas", "lightning", "rich"} & set(sys.modules)
assert not heavy, heavy
"""
    place = str(len(line.split(" ")) - 1)
    variables = {"_HYSEG_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": place}
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True, capture_output=True, timeout=60, env=os.environ | variables,
    )  # fmt: skip
    assert done.stdout


def test_the_block_cache_is_set_in_one_place():
    # rasterio takes bytes where GDAL takes megabytes: once is enough to get that right.
    users = {path.name for path in SOURCES if "GDAL_CACHEMAX" in path.read_text()}
    assert users == {"gdal.py"}


def test_no_room_is_crowded():
    rooms = Counter(path.parent for path in SOURCES if path.name != "__init__.py")
    assert {str(room): count for room, count in rooms.items() if count > MOST_MODULES} == {}


def test_no_file_is_long():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {str(path): lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_small_modules_with_one_importer_have_a_reason():
    importers = Counter(
        name for path in SOURCES for name in modules_among(imports_of(path)) - {module_name(path)}
    )
    small = {
        module_name(path)
        for path in SOURCES
        if path.name != "__init__.py"
        and len(path.read_text(encoding="utf-8").splitlines()) < FEW_LINES
        and importers[module_name(path)] == 1
    }
    assert small == set(SMALL)


def test_no_pickle_and_no_eval_anywhere():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in {"eval", "exec", "torch.load", "pickle.load", "pickle.loads"}
                assert not any(
                    keyword.arg == "shell" and ast.unparse(keyword.value) == "True"
                    for keyword in node.keywords
                )
