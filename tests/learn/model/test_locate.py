"""Which file a model's path or name stands for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.learn.model.locate import (
    find_model,
    is_safetensors,
    list_models,
    model_folders,
)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Two folders of models and a data folder, empty."""
    first, second, data = (tmp_path / name for name in ("first", "second", "data"))
    for folder in (first, second, data / "hyseg" / "models"):
        folder.mkdir(parents=True)
    monkeypatch.setenv("HYSEG_MODELS", os.pathsep.join(map(str, (first, second))))
    monkeypatch.setenv("XDG_DATA_HOME", str(data))
    return first, second, data / "hyseg" / "models"


def put(folder, name):
    path = folder / name
    path.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    return path


def test_a_name_is_found_in_the_first_folder_that_has_it(own_folders):
    first, second, data = own_folders
    in_data = put(data, "town.safetensors")
    assert find_model("town") == in_data
    in_second = put(second, "town.safetensors")
    assert find_model("town") == in_second
    in_first = put(first, "town.safetensors")
    assert find_model(Path("town")) == in_first
    hidden = {file.path: file.is_hidden for file in list_models() if file.name == "town"}
    assert hidden == {in_first: False, in_second: True, in_data: True}


def test_the_built_in_model_cannot_be_hidden(own_folders):
    put(own_folders[0], "default.safetensors")
    assert find_model("default") == find_model(None)
    assert find_model("default").parent.name == "weights"


def test_a_path_is_taken_as_it_is_though_a_model_has_its_name(own_folders, monkeypatch, tmp_path):
    put(own_folders[0], "town.safetensors")
    monkeypatch.chdir(tmp_path)
    assert find_model("town.safetensors") == Path("town.safetensors")
    assert find_model("sub/town") == Path("sub/town")
    put(tmp_path, "village")
    assert find_model("village") == Path("village")


def test_a_name_that_does_not_exist_is_answered_with_near_ones(own_folders):
    put(own_folders[1], "coast-2024.safetensors")
    with pytest.raises(UsageProblemError, match="'coast-2042'") as caught:
        find_model("coast-2042")
    assert "Did you mean coast-2024?" in caught.value.hint
    with pytest.raises(UsageProblemError) as caught:
        find_model("zzz")
    assert "Did you mean" not in caught.value.hint
    assert "hyseg models list" in caught.value.hint


def test_folders_that_are_relative_empty_or_missing_do_no_harm(monkeypatch, tmp_path):
    monkeypatch.setenv("HYSEG_MODELS", os.pathsep.join(["", str(tmp_path / "missing"), ""]))
    monkeypatch.setenv("XDG_DATA_HOME", "relative/data")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert model_folders() == (tmp_path / "missing", tmp_path / ".local/share/hyseg/models")
    assert [file.name for file in list_models()] == ["default"]


def test_safetensors_files_are_known_by_their_first_bytes(tmp_path, tiny_model):
    assert is_safetensors(tiny_model)
    other = tmp_path / "renamed.tif"
    other.write_bytes(tiny_model.read_bytes())
    assert is_safetensors(other)
    for content in (b"", b"hello", b"{" * 20, b"\xff\0\0\0\0\0\0\0{}"):
        other.write_bytes(content)
        assert not is_safetensors(other)
    assert not is_safetensors(tmp_path)
    assert not is_safetensors(Path("\0"))


def test_looking_for_a_name_does_not_load_torch():
    program = """
import sys
from hyseg_cli.learn.model.locate import find_model
assert find_model("default").is_file()
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
