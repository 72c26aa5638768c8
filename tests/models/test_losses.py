"""Labels that allow several classes, in the losses of both stages."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hyseg_models import IGNORE_ID, HySegOutput, segmentation_loss
from hyseg_models.prior.labels import AnalogLabels, DistanceLabels, definite, pooled_shares


def output_of(logits, aux=None):
    return HySegOutput(logits=logits, aux=aux, prior=None)


def sets(*rows):
    return torch.tensor(rows, dtype=torch.bool)


def test_sets_of_one_class_cost_what_classes_cost():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 8, 8), torch.randint(0, 4, (2, 8, 8))
    labels[0, :3] = IGNORE_ID
    output = output_of(logits, aux=torch.randn(2, 4, 8, 8))
    for weights in (None, torch.tensor([0.5, 1.0, 2.0, 4.0])):
        torch.testing.assert_close(
            segmentation_loss(output, labels, allowed=torch.eye(4).bool(), weights=weights),
            segmentation_loss(output, labels, weights=weights),
        )


def test_a_pixel_costs_the_logarithm_of_the_sum_of_what_its_label_allows():
    # One pixel, probabilities 0.5, 0.25, 0.125, 0.125; the label allows the last two.
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125]).log().view(1, 4, 1, 1)
    allowed = sets((1, 0, 0, 0), (0, 0, 1, 1))
    labels = torch.ones(1, 1, 1, dtype=torch.long)
    found = segmentation_loss(
        output_of(logits), labels, allowed=allowed, smoothing=0.0, dice_smooth=0.0
    )
    # Dice of the second label: 2 * 0.25 / (0.25 + 1); the first does not occur, one of two.
    assert found.item() == pytest.approx(math.log(4.0) + (1.0 - 0.4) / 2.0)


def test_a_label_that_allows_more_than_another_does_not_count_against_it():
    # Two pixels: "green" (grass or tree) and "tree", both surely trees: nothing is wrong.
    logits = torch.tensor([[-40.0, -40.0], [40.0, 40.0], [-40.0, -40.0]]).view(1, 3, 1, 2)
    allowed = sets((1, 1, 0), (0, 1, 0))
    labels = torch.tensor([[[0, 1]]])
    loss = segmentation_loss(output_of(logits), labels, allowed=allowed, smoothing=0.0)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    # A label that excludes trees does.
    other = sets((1, 0, 1), (0, 1, 0))
    loss = segmentation_loss(output_of(logits), labels, allowed=other, smoothing=0.0)
    assert loss.item() > 40.0


@settings(deadline=None, max_examples=40)
@given(
    data=st.data(),
    classes=st.integers(2, 5),
    seed=st.integers(0, 10**6),
    weighted=st.booleans(),
)
def test_splitting_a_class_and_allowing_both_parts_costs_what_the_class_cost(
    data, classes, seed, weighted
):
    generator = torch.Generator().manual_seed(seed)
    masks = data.draw(st.lists(st.integers(1, 2**classes - 1), min_size=1, max_size=5, unique=True))
    split = data.draw(st.integers(0, classes - 1))
    allowed = sets(*[[mask >> c & 1 for c in range(classes)] for mask in masks])
    labels = torch.randint(0, len(masks), (2, 6, 6), generator=generator)
    labels[torch.rand(2, 6, 6, generator=generator) < 0.2] = IGNORE_ID
    weights = torch.rand(classes, generator=generator) + 0.5 if weighted else None
    logits = torch.randn(2, classes, 6, 6, generator=generator, dtype=torch.double)
    parts = torch.rand(2, 6, 6, generator=generator, dtype=torch.double).clamp(0.05, 0.95)
    # The class becomes two whose probabilities add up to its own, anyhow divided.
    divided = torch.cat([logits, (logits[:, split] + (1 - parts).log()).unsqueeze(1)], dim=1)
    divided[:, split] = logits[:, split] + parts.log()
    both = torch.cat([allowed, allowed[:, split : split + 1]], dim=1)
    weights_of_both = None if weights is None else torch.cat([weights, weights[split : split + 1]])
    if weighted and not (allowed.sum(dim=1) == 1).all():
        # The mean weight of a set changes when one of its classes counts twice.
        weights = weights_of_both = None
    whole, parted = (
        segmentation_loss(output_of(x), labels, allowed=table, weights=w, smoothing=0.0)
        for x, table, w in ((logits, allowed, weights), (divided, both, weights_of_both))
    )
    torch.testing.assert_close(parted, whole, rtol=1e-5, atol=1e-6)


def test_how_the_network_divides_a_set_costs_nothing():
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 4, 4, requires_grad=True)
    allowed, labels = sets((1, 1, 0, 0)), torch.zeros(1, 4, 4, dtype=torch.long)
    segmentation_loss(output_of(logits), labels, allowed=allowed).backward()
    first = logits.detach()[:, :2].softmax(dim=1)[:, 0]
    # Along a move of probability from one allowed class to the other the loss is level.
    slope = logits.grad[:, 0] * (1.0 - first) - logits.grad[:, 1] * first
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-7, rtol=0)


def test_nothing_labelled_costs_nothing_in_sets():
    labels = torch.full((1, 4, 4), IGNORE_ID)
    loss = segmentation_loss(output_of(torch.randn(1, 3, 4, 4)), labels, allowed=sets((1, 1, 0)))
    assert loss.item() == 0.0


def test_the_prior_sees_sets_as_equal_shares_that_weigh_what_the_label_says():
    allowed = sets((1, 0, 0, 0), (0, 1, 1, 0), (1, 1, 1, 1))
    labels = torch.tensor([0, 1, 2, IGNORE_ID]).repeat_interleave(4).view(1, 1, 16).expand(1, 4, 16)
    shares, weight = pooled_shares(labels, 4, 4, allowed)
    torch.testing.assert_close(shares[0, :, 0, 0], torch.tensor([1.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(shares[0, :, 0, 1], torch.tensor([0.0, 0.5, 0.5, 0.0]))
    torch.testing.assert_close(weight[0, 0, 0], torch.tensor([1.0, 0.5, 0.0, 0.0]))


def test_the_prior_sees_sets_of_one_class_as_the_class():
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (1, 16, 16))
    labels[:, :5] = IGNORE_ID
    for embedding in (AnalogLabels(4, 4, 1.0, 0.1), DistanceLabels(4, 4, 1.0)):
        plain = embedding.encode(labels)
        for one, other in zip(plain, embedding.encode(labels, torch.eye(4).bool()), strict=True):
            torch.testing.assert_close(one, other)


def test_definite_labels_are_those_of_one_class():
    allowed = sets((0, 1, 0), (1, 0, 1), (0, 0, 1))
    labels = torch.tensor([[[0, 1, 2, IGNORE_ID]]])
    assert definite(labels, allowed).tolist() == [[[1, IGNORE_ID, 2, IGNORE_ID]]]
    assert definite(labels, None) is labels


def test_an_entropy_of_sets_is_that_of_torch_with_merged_logits():
    torch.manual_seed(0)
    logits, labels = torch.randn(1, 5, 8, 8), torch.randint(0, 2, (1, 8, 8))
    allowed = sets((1, 1, 1, 0, 0), (0, 0, 0, 1, 1))
    merged = torch.stack([logits[:, :3].logsumexp(1), logits[:, 3:].logsumexp(1)], dim=1)
    found, expected = (
        segmentation_loss(output_of(x), labels, allowed=table, smoothing=0.0)
        for x, table in ((logits, allowed), (merged, None))
    )
    torch.testing.assert_close(found, expected)
    assert F.cross_entropy(merged, labels) < expected
