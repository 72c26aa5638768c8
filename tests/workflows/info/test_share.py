"""`hyseg models add` and `pack`: what is fetched has to be what was published."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from hyseg_cli.cli.group import cli
from hyseg_cli.learn.model.locate import find_model


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The first folder of models, which does not exist yet."""
    path = tmp_path / "meine modelle"
    monkeypatch.setenv("HYSEG_MODELS", str(path))
    return path


@pytest.fixture
def published(tmp_path, tiny_model):
    """A pack on a server, its address and its checksum."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    site = tmp_path / "site"
    site.mkdir()
    told = json.loads(run("pack", tiny_model, "--out", site / "tiny.zip", "--json").stdout)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/tiny.zip", told["sha256"]
    server.shutdown()
    thread.join()
    server.server_close()


def run(*words, code=0):
    result = CliRunner().invoke(cli, ["models", *map(str, words)])
    assert result.exit_code == code, result.output
    return result


def nothing_is_left(folder):
    return not folder.exists() or list(folder.iterdir()) == []


def test_a_model_file_gets_a_name(tiny_model, folder):
    told = json.loads(run("add", tiny_model, "--name", "fields", "--json").stdout)
    assert find_model("fields") == folder / "fields.safetensors"
    assert find_model("fields").read_bytes() == tiny_model.read_bytes()
    assert told["sha256"] == hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert [path.name for path in folder.iterdir()] == ["fields.safetensors"]


def test_a_pack_comes_back_as_the_model_it_was_made_of(tiny_model, tmp_path, folder):
    (tmp_path / "map.png").write_bytes(b"\x89PNG")
    pack = tmp_path / "tiny.zip"
    run("pack", tiny_model, "--out", pack, "--picture", tmp_path / "map.png")
    with zipfile.ZipFile(pack) as archive:
        names = set(archive.namelist())
        for line in archive.read("SHA256SUMS").decode().splitlines():
            digest, name = line.split(maxsplit=1)
            assert hashlib.sha256(archive.read(name)).hexdigest() == digest
    assert names == {
        "tiny.safetensors", "card.json", "README.md", "NOTICE", "picture.png", "SHA256SUMS",
    }  # fmt: skip
    run("add", pack)
    assert find_model("tiny").read_bytes() == tiny_model.read_bytes()


def test_packing_twice_gives_the_same_bytes(tiny_model, tmp_path):
    for name in ("a.zip", "b.zip"):
        run("pack", tiny_model, "--out", tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_what_a_card_does_not_say_is_a_warning(tiny_model, tmp_path):
    result = run("pack", tiny_model, "--out", tmp_path / "a.zip")
    assert "does not say the licence of its data" in result.stderr


def test_an_address_is_fetched_if_the_checksum_is_right(published, tiny_model):
    address, sha256 = published
    run("add", address, "--sha256", sha256)
    assert find_model("tiny").read_bytes() == tiny_model.read_bytes()


@pytest.mark.parametrize("case", ["no checksum", "another checksum", "no such page", "a scheme"])
def test_an_address_that_cannot_be_trusted_leaves_nothing(published, folder, case):
    address, sha256 = published
    words, code = {
        "no checksum": ([address], 2),
        "another checksum": ([address, "--sha256", "0" * 64], 5),
        "no such page": ([address.replace("tiny", "none"), "--sha256", sha256], 1),
        "a scheme": (["ftp://127.0.0.1/tiny.zip", "--sha256", sha256], 2),
    }[case]
    run("add", *words, code=code)
    assert nothing_is_left(folder)


def test_a_pack_whose_model_was_exchanged_is_refused(tiny_model, lively_model, tmp_path, folder):
    run("pack", tiny_model, "--out", tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        sums = archive.read("SHA256SUMS")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("tiny.safetensors", lively_model.read_bytes())
        archive.writestr("SHA256SUMS", sums)
    assert "checksum" in run("add", tmp_path / "b.zip", code=5).output
    assert nothing_is_left(folder)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"PK\x03\x04 cut short"])
def test_what_is_not_a_model_is_refused(tmp_path, folder, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    run("add", tmp_path / "a.safetensors", code=1)
    assert nothing_is_left(folder)


def test_a_pack_without_a_model_is_refused(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("weights.pt", b"\x80\x04")
    assert "0 model files" in run("add", tmp_path / "a.zip", code=1).output
    assert nothing_is_left(folder)


@pytest.mark.parametrize("name", ["default", "../fields", ".hidden", "a b"])
def test_names_that_mean_something_else_are_refused(tiny_model, name):
    run("add", tiny_model, "--name", name, code=2)


def test_a_model_of_that_name_is_replaced_only_if_asked_for(tiny_model, lively_model):
    run("add", tiny_model, "--name", "fields")
    run("add", lively_model, "--name", "fields", code=3)
    run("add", lively_model, "--name", "fields", "--overwrite")
    assert find_model("fields").read_bytes() == lively_model.read_bytes()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["none.safetensors", "--out", "a.zip"], 2),
        (["{model}", "--out", "a.tar"], 2),
        (["{model}", "--out", "a.zip", "--picture", "none.png"], 2),
        (["{model}", "--out", "a.zip", "--picture", "{model}"], 2),
    ],
)
def test_a_pack_that_cannot_be_made_is_an_error(tiny_model, tmp_path, monkeypatch, words, code):
    monkeypatch.chdir(tmp_path)
    run("pack", *[word.format(model=tiny_model) for word in words], code=code)
    assert not (tmp_path / "a.zip").exists()
