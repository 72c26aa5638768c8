"""Experiments with places that no training has seen: heads, looks, and the tables of runs."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import familiarity
import leave_place_out
import looks
import numpy as np
import pytest
import torch
from certainty import changes_of, shrunk
from leave_place_out import PLACES
from looks import Cells, commonest, fit, haze, score, season
from robustness import LOOKS, on_bands

from hyseg_cli.geo.tiling.grid import TileGrid
from hyseg_cli.learn.data.chip import Chip
from hyseg_cli.learn.scores.seams import SeamScores

ONLY_A, ONLY_B, A_OR_B, ONLY_C = [True, False, False], [False, True, False], [True, True, False], [
    False, False, True,
]  # fmt: skip


def cells(seed, kinds, allowed):
    """Tokens around a centre of their class; of a label for several, around either."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.arange(len(kinds)).repeat_interleave(60)
    centre = torch.tensor([kinds[k][i % len(kinds[k])] for i, k in enumerate(kind.tolist())])
    tokens = torch.nn.functional.one_hot(centre, 3) * 3.0
    tokens = tokens + 0.3 * torch.randn(tokens.shape, generator=generator)
    return Cells(tokens.half(), kind, torch.tensor(allowed)[kind])


def test_a_head_learns_from_labels_that_stand_for_several_classes():
    """One data set tells A from B, the other only both from C: together they tell all three."""
    precise = cells(0, [(0,), (1,)], [ONLY_A, ONLY_B])
    coarse = cells(1, [(0, 1), (2,)], [A_OR_B, ONLY_C])
    classify = fit([precise, coarse])
    fresh = cells(2, [(0,), (1,), (2,)], [ONLY_A, ONLY_B, ONLY_C])
    assert score(classify, fresh) == pytest.approx(100.0)


def test_a_score_weighs_kinds_of_label_alike_and_takes_what_they_allow():
    tokens = torch.zeros(10, 3)
    kind = torch.tensor([0] * 8 + [1] * 2)
    found = Cells(tokens, kind, torch.tensor([A_OR_B] * 8 + [ONLY_C] * 2))
    assert score(lambda seen: torch.ones(len(seen), dtype=torch.long), found) == 50.0
    assert score(lambda seen: torch.full((len(seen),), 2), found) == 50.0


def test_the_commonest_label_of_a_cell_and_its_share():
    labels = torch.zeros(32, 16, dtype=torch.long)
    labels[:4] = 3
    labels[16:] = 2
    kind, share = commonest(labels)
    assert kind.tolist() == [[0], [2]]
    assert share.tolist() == [[0.75], [1.0]]


@pytest.mark.parametrize("change", [haze, season])
def test_changes_of_light_keep_the_order_of_brightness(change):
    ramp = torch.arange(256, dtype=torch.uint8).repeat(3, 1, 1)
    torch.manual_seed(0)
    changed = [change(ramp) for _ in range(8)]
    assert any(not torch.equal(image, ramp) for image in changed)
    for image in changed:
        assert image.dtype == torch.uint8
        assert (image.int().diff(dim=-1) >= 0).all()


def test_haze_lightens_and_flattens():
    ramp = torch.arange(256, dtype=torch.uint8).repeat(3, 1, 1)
    torch.manual_seed(1)
    image = haze(ramp).float()
    assert image.mean() > ramp.float().mean()
    assert image.std() < ramp.float().std()


def test_the_table_of_left_out_places_is_the_mean_over_seeds(tmp_path):
    for seed, hits in ((0, 8), (1, 10)):
        for place in PLACES:
            run = {"row": "plain", "left_out": place, "confusion": [[hits, 10 - hits], [0, 10]]}
            (tmp_path / f"plain_{place}_{seed}.json").write_text(json.dumps(run))
    (tmp_path / "host_dubai_0.json").write_text(
        json.dumps(run | {"row": "host", "left_out": "dubai"})
    )
    *_, host, row = leave_place_out.table(tmp_path)
    assert host.startswith("| host | 1 | ")
    assert host.endswith(" |  |  |  |  |")  # it lacks places
    # IoU of 8/10 and 10/12, then 1 and 1; right are 18 and 20 of 20
    assert row.startswith("| plain | 2 |")
    assert row.endswith("| 0.908 / 0.950 |")


def test_the_table_of_looks_in_the_documentation_is_that_of_the_runs():
    root = Path(__file__).parents[1]
    runs = json.loads((root / "examples/experiments/runs/looks.json").read_text())
    page = (root / "docs/how-to/sources.md").read_text(encoding="utf-8")
    assert "\n".join(looks.table(runs)) in page


@pytest.mark.parametrize(
    ("runs", "page"), [("places", "explanation/limits.md"), ("varied", "how-to/sources.md")]
)
def test_tables_of_left_out_places_in_the_documentation_are_those_of_the_runs(runs, page):
    root = Path(__file__).parents[1]
    text = (root / "docs" / page).read_text(encoding="utf-8")
    assert "\n".join(leave_place_out.table(root / "examples/experiments/runs" / runs)) in text


def test_what_is_measured_of_each_source_names_a_source_of_the_examples():
    for name in PLACES:
        assert Path(leave_place_out.SOURCES, f"{name}.toml").is_file()


def test_the_data_sets_that_are_compared_are_those_that_the_built_in_model_learned_from():
    plan = Path(familiarity.LEGEND).with_name("land_cover_false_colours.toml")
    learned = [source.partition("=")[0] for source in tomllib.loads(plan.read_text())["source"]]
    compared = [source for sources, _ in familiarity.SETS.values() for source in sources]
    assert sorted(compared) == sorted(learned)


def test_larger_pixels_have_the_mean_of_the_image_and_the_commonest_label():
    image = np.array([[[0, 4, 10, 10, 99], [4, 8, 10, 10, 99]]], np.uint8)
    labels = np.array([[1, 2, 255, 3, 9], [2, 2, 3, 3, 9]], np.uint8)
    valid = np.array([[1, 1, 1, 0, 1], [1, 1, 1, 1, 1]], bool)
    chip = shrunk(Chip(image=image, valid=valid, labels=labels), 2)
    assert chip.image.tolist() == [[[4, 10]]]
    assert chip.labels.tolist() == [[2, 3]]
    assert chip.valid.tolist() == [[True, False]]
    assert shrunk(chip, 1) is chip


@pytest.mark.parametrize("name", LOOKS)
def test_a_changed_image_has_the_bands_that_it_had(name):
    image = np.random.default_rng(0).integers(0, 256, (3, 40, 56)).astype(np.uint8)
    changed = on_bands(LOOKS[name])(image)
    assert changed.shape == image.shape
    assert changed.dtype == np.uint8
    assert (name == "as it is") == np.array_equal(changed, image)


def test_swapped_bands_are_red_and_blue():
    image = np.arange(3, dtype=np.uint8).repeat(16).reshape(3, 4, 4)
    assert np.array_equal(on_bands(LOOKS["blue, green, red"])(image), image[::-1])


def test_a_map_that_changes_where_tiles_begin_shows_its_seams():
    grid = TileGrid.cover(64, 160, tile=96, overlap=32)
    mapped = np.zeros((64, 160), np.uint8)
    mapped[:, 80:] = 1  # where the second tile takes over
    scores = SeamScores.of(np.stack([changes_of(mapped, grid)]))
    assert scores.elsewhere == 0.0
    assert scores.at_lines > 0.0
