from dataclasses import replace

import pytest
import torch

from hyseg_models import build, preset
from hyseg_models.transfer import transfer_weights


def networks(name, *, source=(3, 5), target=(3, 5)):
    config = preset(name)
    torch.manual_seed(0)
    old = build(replace(config, bands=source[0], classes=source[1])).eval()
    torch.manual_seed(1)
    return old, build(replace(config, bands=target[0], classes=target[1])).eval()


def logits(network, image):
    valid = torch.ones(len(image), 1, *image.shape[-2:], dtype=torch.bool)
    with torch.inference_mode():
        return network(image, valid, torch.zeros(len(image), 2, dtype=torch.long)).logits


@pytest.mark.parametrize("name", ["cpu_smoke", "default", "d2ls"])
def test_the_same_classes_and_bands_give_the_same_network(name):
    old, new = networks(name)
    done = transfer_weights(old, new, range(5), range(3))
    assert set(done.whole) | set(done.mapped) | set(done.fresh) == set(new.state_dict())
    if name == "d2ls":  # its choice of prototypes counts four for each class
        assert all("choose" in entry for entry in done.fresh)
        return
    assert not done.fresh
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(logits(new, image), logits(old, image))


def test_classes_in_another_order_give_the_same_scores_in_that_order():
    old, new = networks("cpu_smoke")
    # The noise is drawn channel by channel, so its order must follow: none is used here.
    for network in (old, new):
        network.config = replace(
            network.config, sample=replace(network.config.sample, noise="zero")
        )
    order = [3, 0, 4, 1, 2]
    transfer_weights(old, new, order, range(3))
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(
        logits(new, image), logits(old, image)[:, order], rtol=1e-4, atol=1e-4
    )


def test_a_new_class_keeps_its_start_and_known_ones_their_scores():
    old, new = networks("cpu_smoke", target=(3, 3))
    start = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    done = transfer_weights(old, new, [4, None, 0], range(3))
    weight = "decoder.classify.2.weight"
    assert weight in done.mapped
    found, known = new.state_dict()[weight], old.state_dict()[weight]
    torch.testing.assert_close(found[[0, 2]], known[[4, 0]])
    torch.testing.assert_close(found[1], start[weight][1])
    assert any(name.startswith("backbone") for name in done.whole)


def test_a_new_band_starts_as_the_mean_of_the_known_ones():
    old, new = networks("cpu_smoke", target=(4, 5))
    transfer_weights(old, new, range(5), [2, 1, 0, None])
    first = next(name for name, t in old.state_dict().items() if t.dim() == 4 and t.shape[1] == 3)
    known, found = old.state_dict()[first], new.state_dict()[first]
    torch.testing.assert_close(found[:, 0], known[:, 2] * 0.75)
    torch.testing.assert_close(found[:, 3], known.mean(dim=1) * 0.75)
    grey = torch.randn(1, 1, 64, 64)
    same = [logits(old, grey.expand(1, 3, -1, -1)), logits(new, grey.expand(1, 4, -1, -1))]
    torch.testing.assert_close(*same, rtol=1e-3, atol=1e-3)
