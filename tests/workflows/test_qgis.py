"""`hyseg qgis`: where profiles are, what is copied, and what is left alone."""

from __future__ import annotations

import configparser
import json
import tomllib
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from hyseg_cli.cli.group import cli
from hyseg_cli.qgis_plugin.program import find_program
from hyseg_cli.workflows.qgis import PLUGIN, own_command, profile_folder, profile_roots

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A folder of profiles with `default` and another one."""
    folder = tmp_path / "für QGIS"
    for name in ("default", "field work"):
        (folder / "profiles" / name).mkdir(parents=True)
    monkeypatch.setenv("QGIS_CUSTOM_CONFIG_PATH", str(folder))
    return folder / "profiles"


def run(*words, code=0):
    result = CliRunner().invoke(cli, ["qgis", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


def test_the_plugin_lies_in_the_profile_and_knows_this_program(config):
    told = json.loads(run("install", "--json"))
    plugin = config / "default" / "python" / "plugins" / PLUGIN
    assert Path(told["plugin"]) == plugin
    assert (plugin / "metadata.txt").is_file()
    assert find_program("", {"PATH": ""}, plugin / "program.json") == own_command()
    assert not list(plugin.rglob("__pycache__"))


def test_installing_again_replaces_the_older_plugin_whole(config):
    run("install")
    plugin = config / "default" / "python" / "plugins" / PLUGIN
    (plugin / "of_an_older_version.py").write_text("")
    run("install")
    assert not (plugin / "of_an_older_version.py").exists()
    assert [path.name for path in plugin.parent.iterdir()] == [PLUGIN]


def test_a_profile_is_chosen_by_name_or_folder(config, tmp_path):
    run("install", "--profile", "field work")
    assert (config / "field work" / "python" / "plugins" / PLUGIN).is_dir()
    (tmp_path / "own").mkdir()
    run("install", "--profile", tmp_path / "own")
    assert (tmp_path / "own" / "python" / "plugins" / PLUGIN).is_dir()


def test_a_profile_that_is_not_there_is_an_error_that_names_those_that_are(config):
    said = run("install", "--profile", "feild work", code=2)
    assert "default, field work" in said
    assert "no such folder" in run("install", "--profile", config / "none", code=2)


def test_the_default_profile_is_made_for_a_qgis_that_never_ran(tmp_path, monkeypatch):
    monkeypatch.setenv("QGIS_CUSTOM_CONFIG_PATH", str(tmp_path / "new"))
    run("install")
    assert (tmp_path / "new" / "profiles" / "default" / "python" / "plugins" / PLUGIN).is_dir()


def test_what_is_not_the_plugin_is_not_replaced(config):
    other = config / "default" / "python" / "plugins" / PLUGIN
    other.mkdir(parents=True)
    (other / "mine.txt").write_text("mine")
    assert "is not this plugin" in run("install", code=3)
    assert (other / "mine.txt").read_text() == "mine"
    assert "is not there" in run("uninstall", code=2)


def test_a_link_to_the_sources_is_replaced_and_the_sources_stay(config, tmp_path):
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "metadata.txt").write_text("[general]")
    plugins = config / "default" / "python" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / PLUGIN).symlink_to(sources)
    run("install")
    assert (sources / "metadata.txt").read_text() == "[general]"
    assert not (plugins / PLUGIN).is_symlink()


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"[Gui]\nlast=1\n",
        b"[PythonPlugins]\nother=true\nhyseg_qgis=false\n\n[Gui]\nlast=\\x61\xe9",
        b"[PythonPlugins]\r\nother=true\r\n",
    ],
)
def test_the_plugin_is_enabled_and_other_settings_stay(config, before):
    path = config / "default" / "QGIS" / "QGIS3.ini"
    path.parent.mkdir()
    path.write_bytes(before)
    run("install")
    run("install")
    after = path.read_bytes()
    settings = configparser.RawConfigParser()
    settings.read_string(after.decode("latin-1"))
    assert settings["PythonPlugins"][PLUGIN] == "true"
    for line in before.splitlines():
        assert line in after or line == b"hyseg_qgis=false"
    assert after.count(b"hyseg_qgis") == 1


def test_the_settings_stay_if_the_plugin_is_not_to_be_enabled(config):
    said = run("install", "--no-enable")
    assert not (config / "default" / "QGIS").exists()
    assert "tick hyseg" in said


def test_the_plugin_goes_as_it_came(config):
    run("install")
    run("uninstall")
    assert list((config / "default" / "python" / "plugins").iterdir()) == []


@pytest.mark.parametrize(
    ("platform", "place"),
    [
        ("linux", ".local/share/QGIS/QGIS3/profiles"),
        ("darwin", "Library/Application Support/QGIS/QGIS3/profiles"),
        ("win32", "AppData/Roaming/QGIS/QGIS3/profiles"),
    ],
)
def test_profiles_are_where_qgis_keeps_them(tmp_path, monkeypatch, platform, place):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for name in ("APPDATA", "XDG_DATA_HOME", "QGIS_CUSTOM_CONFIG_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert profile_roots()[0] == tmp_path / place
    assert profile_folder() == tmp_path / place / "default"


def test_a_zip_holds_one_folder_and_what_the_site_of_plugins_asks_for(tmp_path):
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    for path in (first, second):
        run("zip", "--out", path, "--home", "https://example.org/hyseg/", "--email", "a@b.org")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        names = archive.namelist()
        assert {name.partition("/")[0] for name in names} == {PLUGIN}
        text = archive.read(f"{PLUGIN}/metadata.txt").decode()
    assert {f"{PLUGIN}/{name}" for name in ("LICENSE", "__init__.py", "icon.svg")} <= set(names)
    assert not [name for name in names if "program.json" in name or "__pycache__" in name]
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read_string(text)
    asked = (
        "name", "qgisMinimumVersion", "description", "about", "version", "author", "email",
        "homepage", "tracker", "repository", "license", "hasProcessingProvider",
    )  # fmt: skip
    assert all(metadata["general"].get(name) for name in asked)
    assert metadata["general"]["tracker"] == "https://example.org/hyseg/issues"
    assert metadata["general"]["hasProcessingProvider"] == "yes"


def test_a_zip_is_not_replaced_unasked(tmp_path):
    (tmp_path / "a.zip").write_text("mine")
    run("zip", "--out", tmp_path / "a.zip", code=3)
    run("zip", "--out", tmp_path / "a.zip", "--overwrite")


def test_the_version_of_the_plugin_is_that_of_hyseg():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = (ROOT / "hyseg_cli" / "qgis_plugin" / "metadata.txt").read_text(encoding="utf-8")
    assert f"\nversion={project['version']}\n" in metadata
