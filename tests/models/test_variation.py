"""Features that are shown as another place might have them."""

import pytest
import torch
from conftest import tiny_config

from hyseg_models import build
from hyseg_models.variation import varied


def levels(batch=6):
    """Two levels of images that differ in the mean and the spread of their channels."""
    look = torch.linspace(0.5, 2.0, batch).view(batch, 1, 1, 1)
    return [look * torch.randn(batch, c, side, side) + 3 * look for c, side in ((8, 16), (12, 4))]


def standardised(level):
    mean, spread = level.mean((2, 3), keepdim=True), level.std((2, 3), keepdim=True)
    return (level - mean) / spread


def test_every_channel_keeps_its_pattern():
    torch.manual_seed(1)
    features = levels()
    for before, after in zip(features, varied(features, 1.0), strict=True):
        assert not torch.allclose(before, after, atol=0.1)
        assert torch.allclose(standardised(before), standardised(after), atol=1e-3)


def test_images_that_look_alike_have_nothing_to_vary():
    torch.manual_seed(2)
    level = torch.randn(1, 8, 16, 16).expand(5, -1, -1, -1)
    assert torch.allclose(varied([level], 1.0)[0], level, atol=1e-4)


def test_means_and_spreads_vary_as_much_as_between_the_images():
    torch.manual_seed(3)
    level = levels(batch=8)[0]
    drawn = torch.stack([varied([level], 1.0)[0].mean((2, 3)) for _ in range(400)])
    # In the means over many draws, each image has its own mean, and the noise is that of all.
    assert torch.allclose(drawn.mean(0), level.mean((2, 3)), atol=0.35)
    ratio = drawn.std(0) / level.mean((2, 3)).std(0)
    assert torch.allclose(ratio, torch.ones_like(ratio), atol=0.15)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_images_is_varied(share):
    torch.manual_seed(4)
    level = levels(batch=400)[0]
    changed = (varied([level], share)[0] - level).abs().amax((1, 2, 3)) > 1e-3
    assert changed.float().mean() == pytest.approx(share, abs=0.08)


def test_an_image_alone_stays_as_it_is():
    features = levels(batch=1)
    for before, after in zip(features, varied(features, 1.0), strict=True):
        assert torch.equal(before, after)


def test_the_decoder_sees_the_difference_and_the_prior_does_not():
    torch.manual_seed(5)
    network = build(tiny_config()).eval()
    image = torch.randn(3, 3, 64, 64) * torch.tensor([0.3, 1.0, 3.0]).view(3, 1, 1, 1)
    with torch.inference_mode():
        plain, other = network(image), network(image, vary=1.0)
    assert torch.equal(plain.prior, other.prior)
    assert not torch.allclose(plain.logits, other.logits, atol=1e-3)
