import math

import pytest
import torch

from hyseg_models.config.config import IGNORE_ID
from hyseg_models.prior.labels import AnalogLabels, DistanceLabels, decode


def embedding(classes=5, smooth=0.0, beta=0.25):
    return AnalogLabels(classes, 4, beta, smooth)


def test_a_hard_label_has_zero_sum_and_the_scale_asked_for():
    for classes in (2, 5, 19):
        data, weight = embedding(classes).encode(torch.zeros(1, 4, 4, dtype=torch.int64))
        assert data.sum() == pytest.approx(0.0, abs=1e-6)
        assert data.square().mean().sqrt() == pytest.approx(0.25)
        assert weight.item() == 1.0


def test_a_mixed_cell_holds_the_shares_of_its_labelled_pixels():
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    labels[0, 0] = 3
    labels[0, 3] = IGNORE_ID
    data, weight = embedding().encode(labels)
    shares = embedding().shares(data).flatten()
    torch.testing.assert_close(shares, torch.tensor([2 / 3, 0, 0, 1 / 3, 0]))
    assert weight.item() == 0.75


@pytest.mark.parametrize(("labelled", "counts"), [(3, False), (4, True)])
def test_a_cell_needs_a_quarter_of_labels(labelled, counts):
    labels = torch.full((1, 16), IGNORE_ID)
    labels[0, :labelled] = 1
    data, weight = embedding().encode(labels.view(1, 4, 4))
    assert (weight.item() > 0) == counts
    assert bool(data.any()) == counts


def test_smoothing_moves_towards_the_uniform_share():
    data, _ = embedding(smooth=0.05).encode(torch.full((1, 4, 4), 2))
    shares = embedding().shares(data).flatten()
    torch.testing.assert_close(shares, torch.tensor([0.01, 0.01, 0.96, 0.01, 0.01]))


def test_decoding_gives_back_the_class():
    labels = torch.randint(0, 5, (2, 8, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    data, _ = embedding().encode(labels)
    decoded = decode(embedding(), data, 8.0)
    assert torch.equal(decoded.argmax(dim=1), labels[:, ::4, ::4])
    torch.testing.assert_close(decoded.sum(dim=1), torch.ones(2, 8, 8))


def test_embed_and_shares_are_inverse():
    probabilities = torch.rand(2, 5, 3, 3).softmax(dim=1)
    labels = embedding()
    torch.testing.assert_close(labels.shares(labels.embed(probabilities)), probabilities)


def test_the_scale_does_not_depend_on_the_number_of_classes():
    few, many = (
        embedding(classes).encode(torch.ones(1, 4, 4, dtype=torch.int64))[0].norm()
        / math.sqrt(classes)
        for classes in (3, 30)
    )
    assert few == pytest.approx(many.item())


def test_distances_are_signed_and_half_a_cell_at_the_border():
    labels = torch.zeros(1, 4, 32, dtype=torch.int64)
    labels[..., 16:] = 1
    data, weight = DistanceLabels(3, 4, beta=1.0).encode(labels)
    expected = torch.tensor([3.5, 2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5]) / 8
    torch.testing.assert_close(data[0, 0, 0], expected)
    torch.testing.assert_close(data[0, 1, 0], -expected)
    assert (data[0, 2] == -1).all()
    assert (weight == 1).all()


def test_distances_give_back_the_class_where_it_is_known():
    labels = torch.randint(0, 4, (2, 6, 6)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    labels[0, :16] = IGNORE_ID
    embedding = DistanceLabels(4, 4, beta=0.25)
    data, weight = embedding.encode(labels)
    decoded = decode(embedding, data, 8.0)
    known = weight[:, 0] > 0
    assert torch.equal(decoded.argmax(dim=1)[known], labels[:, ::4, ::4][known])
    assert (data.permute(0, 2, 3, 1)[~known] == 0).all()
    torch.testing.assert_close(embedding.embed(embedding.shares(data)), data)
