import json

import pytest
import timm
import torch
from models.blocks.test_vit import tiny_vit
from safetensors.torch import save_file

from hyseg_cli.errors import ModelMismatchError, UsageProblemError
from hyseg_cli.learn.model.backbone import Provenance, load_backbone
from hyseg_cli.learn.model.card import Radiometry
from hyseg_models import build, preset

RGB = ("red", "green", "blue")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.1, 0.3)


def small_host(backbone="test_efficientnet", bands=3):
    return preset("cpu_smoke").override(
        {
            "bands": bands,
            "host.backbone": backbone,
            "prior.condition.backbone": backbone,
            "prior.net.base": 8,
            "prior.net.mult": [1, 2],
        }
    )


def write_weights(path, architecture="test_efficientnet", **told):
    torch.manual_seed(7)
    weights = timm.create_model(architecture, pretrained=False).state_dict()
    entry = {"format": "hyseg-backbone/1", "architecture": architecture, "licence": "CC0-1.0"}
    entry |= {"mean": MEAN, "std": STD, **told}
    save_file(weights, path, metadata={"hyseg_backbone": json.dumps(entry)})
    return weights


def test_host_and_prior_get_the_weights_and_what_is_known_of_them(tmp_path):
    weights = write_weights(tmp_path / "w.safetensors")
    network = build(small_host())
    found = load_backbone(network, tmp_path / "w.safetensors", RGB)
    assert (found.architecture, found.licence, found.mean) == ("test_efficientnet", "CC0-1.0", MEAN)
    assert len(found.digest) == 16
    for body in (network.backbone.body, network.prior.condition.body.body):
        for name, value in body.state_dict().items():
            assert torch.equal(value, weights[name])


def test_a_file_that_says_nothing_serves_by_timms_names(tmp_path):
    weights = write_weights(tmp_path / "w.safetensors", "test_vit")
    save_file(weights, tmp_path / "plain.safetensors")
    network = build(tiny_vit())
    found = load_backbone(network, tmp_path / "plain.safetensors", RGB)
    assert torch.equal(network.backbone.body.pos_embed, weights["pos_embed"])
    assert (found.name, found.licence) == ("plain.safetensors", "")


def test_names_that_timm_flattens_are_found(tmp_path):
    weights = write_weights(tmp_path / "w.safetensors", "test_convnext")
    network = build(small_host("test_convnext"))
    load_backbone(network, tmp_path / "w.safetensors", RGB)
    name = "stages.0.blocks.0.conv_dw.weight"
    assert torch.equal(
        network.backbone.body.state_dict()[name.replace("stages.0", "stages_0")], weights[name]
    )


def test_features_of_the_colours_are_whole_whatever_bands_stand_beside_them(tmp_path):
    write_weights(tmp_path / "w.safetensors")
    three, five = build(small_host()).eval(), build(small_host(bands=5)).eval()
    load_backbone(three, tmp_path / "w.safetensors", RGB)
    load_backbone(five, tmp_path / "w.safetensors", ("nir", "blue", "swir", "red", "green"))
    image = torch.randn(1, 5, 64, 64)
    colours = image[:, [3, 4, 1]]
    for found, expected in zip(five.backbone(image), three.backbone(colours), strict=True):
        torch.testing.assert_close(found, expected)


def test_one_band_sees_what_it_would_as_three_equal_ones(tmp_path):
    write_weights(tmp_path / "w.safetensors")
    three, one = build(small_host()).eval(), build(small_host(bands=1)).eval()
    load_backbone(three, tmp_path / "w.safetensors", RGB)
    load_backbone(one, tmp_path / "w.safetensors", ("pan",))
    image = torch.randn(1, 1, 64, 64)
    torch.testing.assert_close(
        one.backbone(image)[0], three.backbone(image.expand(1, 3, 64, 64))[0], rtol=1e-3, atol=1e-4
    )


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def of_another_size(path):
    weights = timm.create_model("test_efficientnet", pretrained=False).state_dict()
    weights["conv_stem.weight"] = torch.zeros(8, 3, 3, 3)
    save_file(weights, path)


def without_a_layer(path):
    weights = timm.create_model("test_efficientnet", pretrained=False).state_dict()
    del weights["blocks.1.0.conv_exp.weight"]
    save_file(weights, path)


def not_a_number(path):
    weights = timm.create_model("test_efficientnet", pretrained=False).state_dict()
    weights["conv_stem.weight"][0] = torch.nan
    save_file(weights, path)


def of_another_network(path):
    write_weights(path, "resnet10t")


def without_a_deviation(path):
    write_weights(path, std=(0.0, 1.0, 1.0))


def pickled(path):
    torch.save({"conv_stem.weight": torch.zeros(1)}, path)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (cut, "not a complete safetensors file"),
        (pickled, "not a complete safetensors file"),
        (of_another_size, r"conv_stem.weight: \(8, 3, 3, 3\), not \(24, 3, 3, 3\)"),
        (without_a_layer, "blocks.1.0.conv_exp.weight: missing"),
        (not_a_number, "conv_stem.weight"),
        (of_another_network, "weights of a resnet10t, not of a test_efficientnet"),
        (without_a_deviation, "not of three colours"),
    ],
)
def test_unusable_weights_are_one_clear_error(tmp_path, spoil, told):
    path = tmp_path / "w.safetensors"
    write_weights(path)
    spoil(path)
    with pytest.raises(ModelMismatchError, match=told) as caught:
        load_backbone(build(small_host()), path, RGB)
    assert caught.value.exit_code == 4
    assert "\n" not in caught.value.message


def test_a_file_that_is_not_there_is_a_usage_problem(tmp_path):
    with pytest.raises(UsageProblemError, match="no such file"):
        load_backbone(build(small_host()), tmp_path / "none.safetensors", RGB)


def test_colours_get_the_radiometry_of_the_weights_and_other_bands_their_own():
    known = Provenance(architecture="x", mean=MEAN, std=STD)
    found = Radiometry((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0))
    eight = known.radiometry(found, ("nir", "blue", "green", "red"))
    assert eight.mean == pytest.approx((1.0, 0.3 * 255, 0.4 * 255, 0.5 * 255))
    assert eight.std == pytest.approx((5.0, 0.3 * 255, 0.1 * 255, 0.2 * 255))
    limits = ((0.0, 100.0, 0.0), (10.0, 300.0, 5.0))
    sixteen = known.radiometry(Radiometry((1.0,) * 3, (1.0,) * 3, limits), RGB)
    # The middle of the range that counts is the middle of what the weights know.
    assert sixteen.mean == pytest.approx((5.0, 180.0, 1.5))
    assert sixteen.std == pytest.approx((2.0, 20.0, 1.5))
    assert sixteen.limits == limits
