"""The package installs in each of the usual ways and works from another folder."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[1]


def execute(*command, cwd):
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def fresh_environment(tmp_path):
    """A virtual environment that borrows the dependencies of this one, but not hyseg itself."""
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    site = execute(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path
    ).strip()
    # A path line only: the .pth files in the borrowed folder, hyseg's among them, are not read.
    Path(site, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def install(python, *what, cwd):
    execute(
        python,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--ignore-installed",
        "--quiet",
        *what,
        cwd=cwd,
    )


def from_source(python, folder):
    install(python, ROOT, cwd=folder)


def editable(python, folder):
    install(python, "--editable", ROOT, cwd=folder)


def by_sdist(python, folder):
    # `build` makes the wheel from the sdist, not from the tree.
    execute(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        folder / "dist",
        ROOT,
        cwd=folder,
    )
    install(python, *(folder / "dist").glob("*.whl"), cwd=folder)


@pytest.mark.parametrize("way", [from_source, editable, by_sdist])
def test_the_package_works_from_another_folder(fresh_environment, tmp_path, scene_folder, way):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    way(fresh_environment, elsewhere)
    where = execute(
        fresh_environment,
        "-c",
        "import hyseg_cli, hyseg_models; print(hyseg_cli.__file__); print(hyseg_models.__file__)",
        cwd=elsewhere,
    ).split()
    home = ROOT if way is editable else tmp_path / "venv"
    assert all(Path(path).is_relative_to(home) for path in where), where
    hyseg = fresh_environment.with_name("hyseg")
    assert execute(hyseg, "--version", cwd=elsewhere).startswith("hyseg, version 0.")
    scene = scene_folder / "images" / "east.tif"
    execute(hyseg, "predict", scene, "--out", "landcover.tif", cwd=elsewhere)
    assert (elsewhere / "landcover.tif").exists()
    itself = ("landcover.tif", "--reference", "landcover.tif")
    execute(hyseg, "evaluate", *itself, "--report", "report.html", cwd=elsewhere)
    assert (elsewhere / "report.html").exists()


def test_the_wheel_holds_the_packages_and_the_model_only(tmp_path):
    import zipfile

    execute(
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--outdir",
        tmp_path,
        ROOT,
        cwd=tmp_path,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"hyseg_cli", "hyseg_models"}
    for needed in (
        "hyseg_cli/py.typed",
        "hyseg_models/py.typed",
        "hyseg_cli/weights/default.safetensors",
        "hyseg_cli/report/templates/base.html.j2",
        "hyseg_cli/report/templates/page.css",
    ):
        assert needed in names
