"""What a release says of itself in several places is the same in all of them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ON_CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def recipe():
    text = (ROOT / "examples" / "conda" / "meta.yaml").read_text(encoding="utf-8")
    version = re.search(r'version = "([^"]+)"', text)[1]
    plain = re.sub(r"^\{%.*$", "", text, flags=re.MULTILINE)
    plain = plain.replace("{{ version }}", version).replace("{{ PYTHON }}", "python")
    return yaml.safe_load(plain)


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("CITATION.cff", r"^version: (\S+)$"),
        ("hyseg_cli/qgis_plugin/metadata.txt", r"^version=(\S+)$"),
        ("examples/conda/meta.yaml", r'version = "([^"]+)"'),
    ],
)
def test_the_version_is_the_same_everywhere(path, pattern):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(pattern, text, re.MULTILINE)[1] == PROJECT["version"]


def test_the_recipe_asks_for_what_the_package_asks_for():
    asked = {}
    for line in PROJECT["dependencies"]:
        name, floor = line.split(">=")
        asked[ON_CONDA.get(name, name)] = f">={floor}"
    found = dict(line.split() for line in recipe()["requirements"]["run"])
    assert found.pop("python") == PROJECT["requires-python"]
    assert found == asked


def test_classifiers_name_the_pythons_that_are_tested():
    ci = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    tested = ci["jobs"]["test"]["strategy"]["matrix"]["python"]
    named = [
        line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)
    ]
    assert named == tested
    assert PROJECT["requires-python"] == f">={tested[0]}"


def test_the_image_is_made_of_files_that_are_there_and_not_ignored():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [line.split()[1:-1] for line in lines if re.match(r"COPY (?!--from)", line)]
    names = [name for line in copied for name in line]
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "pyproject.toml" in names
    for name in names:
        assert (ROOT / name).exists()
        assert f"!{name}" in kept


def test_the_image_runs_as_somebody_who_is_not_the_superuser():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, re.MULTILINE)
