"""The learned label space: what it gives back, and what the network does with it."""

import pytest
import torch
import torch.nn.functional as F

from hyseg_models import IGNORE_ID, ConfigError, build, preset
from hyseg_models.prior.autoencoder import LearnedLabels

CLASSES, CHANNELS, STRIDE = 5, 8, 4
SMALL = {"host.backbone": "resnet18", "classes": CLASSES, "prior.channels": CHANNELS}


def masks(generator, count=2):
    """Labels in blocks of 16 pixels, (count, 64, 64)."""
    blocks = torch.randint(0, CLASSES, (count, 4, 4), generator=generator)
    return blocks.repeat_interleave(16, 1).repeat_interleave(16, 2)


def batches(seed=0):
    generator = torch.Generator().manual_seed(seed)
    while True:
        ids = masks(generator, count=8)[:, ::STRIDE, ::STRIDE]
        yield F.one_hot(ids, CLASSES).permute(0, 3, 1, 2).float(), torch.ones(8, 1, 16, 16)


@pytest.fixture(scope="module")
def space():
    torch.manual_seed(0)
    found = LearnedLabels(CLASSES, CHANNELS, STRIDE, beta=0.5)
    assert not found.is_fitted
    assert found.fit(batches(), 300) < 0.02
    return found


def test_it_gives_labels_back_from_an_embedding_of_the_variance_asked_for(space):
    assert space.is_fitted
    labels = masks(torch.Generator().manual_seed(9), count=20)
    embedded, weight = space.encode(labels)
    assert embedded.shape == (20, CHANNELS, 16, 16)
    assert (weight == 1).all()
    assert embedded.mean(dim=(0, 2, 3)).abs().max() < 0.1
    assert (embedded.std(dim=(0, 2, 3)) - 0.5).abs().max() < 0.1
    shares = space.shares(embedded)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(20, 16, 16))
    assert (shares.argmax(dim=1) == labels[:, ::STRIDE, ::STRIDE]).float().mean() > 0.99


def test_cells_without_labels_are_nothing_and_weigh_nothing(space):
    labels = masks(torch.Generator().manual_seed(1))
    labels[:, :32] = IGNORE_ID
    embedded, weight = space.encode(labels)
    assert (embedded[:, :, :8] == 0).all()
    assert (weight[:, :, :8] == 0).all()
    assert (embedded[:, :, 9:] != 0).any()


def test_it_is_fixed_and_travels_with_the_weights(space):
    assert not list(space.parameters())
    other = LearnedLabels(CLASSES, CHANNELS, STRIDE, beta=0.5)
    other.load_state_dict(space.state_dict())
    assert other.is_fitted
    shares, _ = next(batches(3))
    assert torch.equal(other.embed(shares), space.embed(shares))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    small = preset("paper+cpu_smoke").override(SMALL)
    return build(small).eval()


def test_a_network_takes_the_prior_in_its_label_space(network):
    image, valid = torch.randn(2, 3, 64, 64), torch.ones(2, 1, 64, 64, dtype=torch.bool)
    with torch.inference_mode():
        output = network(image, valid)
        probabilities = network.classes_of_prior(output.prior)
        flat = network.flat_prior(output.prior)
    assert output.prior.shape == flat.shape == (2, CHANNELS, 16, 16)
    assert probabilities.shape == (2, CLASSES, 16, 16)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2, 16, 16))
    # one that knows nothing is the same everywhere, up to the edge that its convolution sees
    assert (flat[:, :, 1:-1, 1:-1] == flat[:, :, 1:2, 1:2]).all()


def test_a_prior_in_a_learned_space_learns_velocities_of_as_many_channels(network):
    image, valid = torch.randn(2, 3, 64, 64), torch.ones(2, 1, 64, 64, dtype=torch.bool)
    network.prior.requires_grad_(True)
    terms = network.prior_objective(image, valid, masks(torch.Generator().manual_seed(0)))
    terms.loss.backward()
    assert network.prior.net.head[-1].weight.grad.shape[0] == CHANNELS
    network.prior.requires_grad_(False)


@pytest.mark.parametrize(
    "changes",
    [
        {"head.prior": "gt"},
        {"prior.training": "discriminative"},
        {"prior.param": "x_softmax"},
        {"head.pyramid.out": "softmax", "head.pyramid.skip": True},
    ],
)
def test_what_a_learned_space_cannot_give_is_refused(changes):
    with pytest.raises(ConfigError):
        preset("paper").override(changes)
