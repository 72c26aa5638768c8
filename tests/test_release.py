"""What a release says of itself in several places is the same in all of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
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


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.name
)
def test_actions_are_pinned_by_hash_and_may_only_read(path):
    steps = [
        step["uses"]
        for job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
        for step in job["steps"]
        if "uses" in step
    ]
    assert steps
    for step in steps:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step), step
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}


def test_targets_and_files_that_ci_names_exist():
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"run: make ([a-z-]+)", text)) <= made
        for name in re.findall(r"\b(?:tests|examples|docs)/[\w/.-]+", text):
            assert (ROOT / name).exists(), name


def test_the_date_of_a_release_is_that_of_its_changes():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(PROJECT['version'])}, (\S+)$", text, re.MULTILINE)
    assert found, "the changes of this version have no heading"
    assert found[1] == str(citation["date-released"])


def test_every_extra_is_pinned_where_it_is_installed_for_tests_or_a_release():
    pinned = {
        line.partition("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    }
    extras = PROJECT["optional-dependencies"]
    wanted = {
        re.match(r"[\w.-]+", line)[0].lower()
        for name in ("test", "docs", "structure", "release", "dev")
        for line in extras[name]
        if not line.startswith("hyseg[")
    }
    assert wanted - pinned == set()


def test_hadolint_has_nothing_to_say_of_the_image():
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
    if hadolint is None:
        pytest.skip("hadolint is not installed (make lint-image)")
    done = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


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
