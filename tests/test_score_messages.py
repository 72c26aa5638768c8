"""Corrections of a frozen host: they start as the host, and their hosts have seen nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trained_host
from corrections import (
    DRAWN,
    GENERATIVE,
    KINDS,
    MAJORITY,
    Correction,
    broken_logits,
)
from crops import crop_of
from frozen_host import FeatureScene, UnseenHost, _in_windows, read_kept, scores, solve
from score_messages import Place, measure, measure_majority, structure, train
from trained_host import TrainedHost

from hyseg_models import IGNORE_ID
from hyseg_models.blocks.neighbourhood import aggregate

CLASSES = 3


def scene(seed, side=288):
    """Blocks of classes, and features from which they can be told, but for noise."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, CLASSES, (side // 32, side // 32), generator=generator)
    labels = blocks.repeat_interleave(32, 0).repeat_interleave(32, 1)
    one_hot = torch.nn.functional.one_hot(labels, CLASSES).permute(2, 0, 1).float()
    maps = []
    for stride in (4, 8, 16, 32):
        pooled = torch.nn.functional.avg_pool2d(one_hot, stride)
        maps.append((pooled + 0.5 * torch.randn(pooled.shape, generator=generator)).half())
    return FeatureScene(f"scene {seed}", one_hot, labels, tuple(maps))


@pytest.fixture(scope="module")
def scenes():
    return {name: scene(seed) for seed, name in enumerate("abc")}


@pytest.fixture(scope="module")
def host(scenes):
    return UnseenHost(scenes, CLASSES)


def test_a_ridge_host_finds_classes_that_are_linear_in_its_features(scenes, host):
    found = host.logits("c")["c"].argmax(dim=0)
    truth = scenes["c"].labels[2::4, 2::4]
    assert (found == truth).float().mean() > 0.9


def test_scores_are_those_of_the_features_enlarged_first(scenes, host):
    one = scenes["a"]
    weights = solve(host.sums["b"])
    size = (one.labels.shape[0] // 4, one.labels.shape[1] // 4)
    enlarged = [
        torch.nn.functional.interpolate(x[None].float(), size=size, mode="bilinear")
        for x in one.maps
    ]
    features = torch.cat([*enlarged, torch.ones(1, 1, *size)], dim=1)[0]
    expected = torch.einsum("dhw,dn->nhw", features, weights)
    torch.testing.assert_close(scores(one, weights), expected, rtol=1e-3, atol=1e-4)


def test_no_host_has_seen_the_scene_that_is_held_out(scenes, host):
    before = host.logits("c")
    lies = replace(scenes["c"], labels=(scenes["c"].labels + 1) % CLASSES)
    after = UnseenHost(scenes | {"c": lies}, CLASSES).logits("c")
    for name in scenes:
        torch.testing.assert_close(before[name], after[name])


def test_each_decoder_has_seen_neither_the_scene_it_maps_nor_the_one_held_out(
    scenes, tmp_path, monkeypatch
):
    seen = []
    learn = trained_host.train

    def recorded(known, classes, seed):
        seen.append(set(known))
        return learn(known, classes, seed, steps=2)

    monkeypatch.setattr(trained_host, "train", recorded)
    first = TrainedHost(scenes, CLASSES, tmp_path, seed=0).logits("c")
    assert seen == [{"b"}, {"a"}, {"a", "b"}]
    again = TrainedHost(scenes, CLASSES, tmp_path, seed=0).logits("c")
    assert len(seen) == 3
    for name in scenes:
        torch.testing.assert_close(first[name], again[name])
    lies = replace(scenes["c"], labels=(scenes["c"].labels + 1) % CLASSES)
    unseen = TrainedHost(scenes | {"c": lies}, CLASSES, tmp_path / "lies", seed=0).logits("c")
    for name in scenes:
        torch.testing.assert_close(first[name], unseen[name])
    other = TrainedHost(scenes, CLASSES, tmp_path, seed=1).logits("c")
    assert all(not torch.equal(first[name], other[name]) for name in scenes)


@pytest.mark.slow
def test_a_decoder_maps_a_scene_that_it_has_not_seen(scenes, tmp_path, monkeypatch):
    learn = trained_host.train
    monkeypatch.setattr(trained_host, "train", lambda *args: learn(*args, steps=60))
    found = TrainedHost(scenes, CLASSES, tmp_path, seed=0).logits("c")["c"].argmax(dim=0)
    assert (found == scenes["c"].labels[2::4, 2::4]).float().mean() > 0.9


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in MAJORITY])
def test_every_correction_starts_as_the_host_and_learns(scenes, host, kind):
    logits = host.logits("c")
    crop = crop_of(scenes["c"], logits["c"], 0, 32, 128, 96)
    torch.manual_seed(0)
    network = Correction(kind, CLASSES, (CLASSES, CLASSES))
    found, prior = network(crop)
    torch.testing.assert_close(found, crop.logits)
    kind = network.kind
    corrects = kind in ("evid", *GENERATIVE)
    assert (prior is not None) == (corrects or kind in DRAWN)
    with torch.no_grad():
        network.gate.fill_(0.5)
    (network(crop)[0].square().mean() + network.extra_loss(crop, 1.0)).backward()
    learned = {name for name, p in network.named_parameters() if p.grad is not None}
    assert ({"gate", "log_sigma"} <= learned) == (kind != "larger")
    assert ("evidence_gate" in learned) == corrects
    assert any("embed" in name for name in learned) == (corrects or kind in ("learnt", "shared"))
    assert any("corrector" in name for name in learned) == (prior is not None or kind == "larger")


def test_eight_colourings_are_eight_affinities(scenes, host):
    """The mean of draws is flat, so their affinities are averaged instead."""
    logits = host.logits("c")
    crop = crop_of(scenes["c"], logits["c"], 0, 0, 96, 96)
    torch.manual_seed(0)
    many, one = (
        Correction(kind, CLASSES, (CLASSES, CLASSES)) for kind in ("partitions8", "partitions")
    )
    one.load_state_dict(many.state_dict())
    noise = torch.randn(1, 8 * 4, 12, 12)
    pooled = torch.nn.functional.avg_pool2d(crop.logits, 2)
    alone = [one._affinity(one._drawn(crop, part)) for part in noise.split(4, dim=1)]
    expected = pooled
    for _ in range(2):
        expected = aggregate(expected, torch.stack(alone).mean(dim=0), 7)
    found = many._passed(crop, pooled, many._drawn(crop, noise))
    torch.testing.assert_close(found, expected)


def test_a_draw_in_one_step_is_the_noise_minus_the_average_velocity(scenes, host):
    crop = crop_of(scenes["c"], host.logits("c")["c"], 0, 0, 96, 96)
    network = Correction("ae", CLASSES, (CLASSES, CLASSES))
    del network.corrector
    network.__dict__["corrector"] = lambda seen, _r, _t: 0.25 * seen[:, :16]
    noise = torch.randn(1, 16, 12, 12)
    torch.testing.assert_close(network._drawn(crop, noise), 0.75 * noise)


def test_a_corrector_without_the_image_sees_the_map_alone(scenes, host):
    crop = crop_of(scenes["c"], host.logits("c")["c"], 0, 0, 96, 96)
    dark = replace(crop, image=0.0 * crop.image, maps=tuple(0.0 * x for x in crop.maps))
    noise = torch.randn(1, CLASSES, 12, 12)
    for kind, differs in (("blind+broken", False), ("flow+broken", True)):
        network = Correction(kind, CLASSES, (CLASSES, CLASSES))
        with torch.no_grad():
            network.evidence_gate.fill_(1.0)
            found, other = (network(seen, noise)[0] for seen in (crop, dark))
        assert torch.equal(found, other) != differs


def test_a_gate_for_all_classes_stays_between_nothing_and_everything(scenes, host):
    logits = host.logits("c")
    network = train("shared", {name: scenes[name] for name in "ab"}, logits, seed=0)
    assert network.gate.shape == (1,)
    assert 0.0 <= float(network.gate.detach()) <= 1.0


def test_structure_of_the_truth_is_right_and_of_speckle_is_not(scenes):
    labels = scenes["a"].labels.numpy().astype(np.uint8)
    perfect = structure(labels, labels, CLASSES, 1)
    assert {value for name, value in perfect.items() if "error" in name} == {0.0}
    assert {value for name, value in perfect.items() if "error" not in name} == {100.0}
    speckled = labels.copy()
    speckled[8::16, 8::16] = (speckled[8::16, 8::16] + 1) % CLASSES
    found = structure(labels, speckled, CLASSES, 1)
    assert found["b0_error"] > found["b0_error_small"] > 50
    assert found["b1_error"] > 50
    assert found["boundary_f1"] < 95
    assert found["boundary_iou"] < 95


def test_structure_of_chips_is_counted_in_smaller_squares(scenes):
    labels = scenes["a"].labels.numpy().astype(np.uint8)
    mapped = np.zeros_like(labels)
    halved = structure(labels, mapped, CLASSES, 1, scale=0.5)
    whole = structure(labels, mapped, CLASSES, 1)
    assert halved["b0_error"] == whole["b0_error_small"]


def test_a_road_in_pieces_keeps_the_share_of_its_line_that_is_left():
    labels = np.zeros((288, 288), np.uint8)
    labels[30:35] = 1
    mapped = labels.copy()
    mapped[:, 108:180] = 0
    # three quarters of the line are found, and all of what is found is right
    clean = structure(labels, mapped, 2, 1)["road_cl_dice"]
    assert clean == pytest.approx(100 * 2 * 0.75 / 1.75, abs=2.0)


def test_labels_are_broken_in_places_and_stay_unknown_where_they_were(scenes):
    labels = scenes["a"].labels[None, ::4, ::4].clone()
    labels[:, :10] = IGNORE_ID
    torch.manual_seed(0)
    found = broken_logits(labels, CLASSES)
    assert torch.equal(found[:, :, :10], torch.zeros(1, CLASSES, 10, 72))
    same = (found.argmax(dim=1) == labels)[labels != IGNORE_ID].float().mean()
    assert 0.7 < same < 0.98
    assert (broken_logits(labels, CLASSES, strokes=0).argmax(dim=1) == labels)[
        labels != IGNORE_ID
    ].float().mean() > 0.98


def test_a_filter_of_a_square_smooths_more_the_larger_it_is(scenes, host):
    logits = host.logits("c")["c"]
    noisy = logits + 2.0 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
    errors = [
        measure_majority(Place(scenes["c"], noisy), side, 1)["structure"]["own"]["b0_error"]
        for side in (1, 7, 15)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_windows_put_each_feature_in_its_place():
    """Of a backbone that sees nothing but its cell, windows give what the whole image gives."""
    image = torch.randn(1, 3, 800, 1632)

    class Cells:
        def backbone(self, part):
            return [torch.nn.functional.avg_pool2d(part, side) for side in (4, 32)]

    for sides in ((768, 128), (800, 0)):
        windows = _in_windows(Cells(), image, *sides)
        for found, expected in zip(windows, Cells().backbone(image), strict=True):
            torch.testing.assert_close(found.float(), expected[0], rtol=1e-3, atol=1e-3)


def test_features_are_kept(scenes, tmp_path, monkeypatch):
    made = []

    def read(name, *_):
        made.append(name)
        return replace(scenes["a"], image=scenes["a"].image.round())

    monkeypatch.setattr("frozen_host.read_scene", read)
    first, again = (read_kept("a", (), None, (), tmp_path / "kept") for _ in range(2))
    assert made == ["a"]
    assert torch.equal(first.labels, scenes["a"].labels)
    for one, two, expected in zip(first.maps, again.maps, scenes["a"].maps, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, expected)


@pytest.mark.slow
def test_labels_in_place_of_a_prior_make_better_maps(scenes, host):
    logits = host.logits("c")
    training = {name: scenes[name] for name in "ab"}
    network = train("labels", training, logits, seed=0)
    places = [Place(scenes[name], logits[name]) for name in "ca"]
    found = measure(network, *places, 1)
    hits = {name: torch.tensor(found[name]).diagonal().sum() for name in ("host", "own")}
    assert hits["own"] > hits["host"]
    assert min(found["gate"]) > 0


def test_unknown_pixels_count_nowhere(scenes, host):
    logits = host.logits("c")
    labels = scenes["c"].labels.clone()
    labels[:100] = IGNORE_ID
    network = Correction("own", CLASSES, (CLASSES, CLASSES)).eval()
    place = Place(replace(scenes["c"], labels=labels), logits["c"])
    found = measure(network, place, place, 1)
    assert torch.tensor(found["host"]).sum() == (labels != IGNORE_ID).sum()
    assert found["host"] == found["own"]
