"""The experiments: what they would train, and the tables of what was trained."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from make_scene import write_scene
from paired import by_scene, draw, gain, interval, scene_table, shape_table, sign_flip, use
from paired import table as paired_table
from plan import read_plan
from run import what_is_left
from tables import table, table_by_split

FOLDER = Path(__file__).parents[1] / "examples/experiments"

SMALL = """
title = "Small"
against = "host"
size = "cpu_smoke"
seeds = [0, 1]
train = { prior-steps = 1, steps = 1, chip-size = 64, batch-size = 2, val-every = 1 }
splits = { west = ["west"] }
[rows]
host = { preset = "ablation-host", prior = "encoder" }
full = { preset = "ablation-full" }
"no attention" = { preset = "ablation-no-attention" }
discriminative = { preset = "control-disc" }
"of the host" = { preset = "ablation-segmentor-prior", prior = "host" }
oracle = { preset = "control-gt" }
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_run_of_an_experiment_has_a_network_and_a_name_of_its_own(path):
    runs = list(read_plan(path).runs())
    assert len(runs) == len({run.name for run in runs}) >= 10
    assert {run.row.name for run in runs} >= {runs[0].plan.against}
    # A prior that was begun for one row is gone on with for another: it must be called the same.
    priors = {(run.prior_name, run.prior_preset) for run in runs}
    assert len(priors) == len({name for name, _ in priors})


def test_rows_share_the_priors_that_are_alike(small):
    names = {run.row.name: run.prior_name for run in read_plan(small).runs() if run.seed == 0}
    assert names["host"] == names["full"] == names["no attention"] != names["discriminative"]
    other_seed = {run.row.name: run.prior_name for run in read_plan(small).runs() if run.seed == 1}
    assert other_seed["full"] != names["full"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ablation-full", "ablation-fool", "no preset 'ablation-fool'"),
        ('against = "host"', 'against = "hast"', "no row is called hast"),
        ('prior = "host"', 'prior = "guest"', "no row is called guest"),
        ('title = "Small"', "", "title"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(small, old, new, message):
    assert old in SMALL
    small.write_text(SMALL.replace(old, new))
    with pytest.raises(click.UsageError, match=message):
        read_plan(small)


def scores(hits, misses):
    """A scene of two classes, each with as many hits and misses."""
    confusion = [[hits, misses], [misses, hits]]
    return {
        "confusion": confusion,
        "cldice": 0.5,
        "boundary_f1": 0.25,
        "b0_error": 3,
        "b1_error": 1,
    }


def test_the_table_compares_within_a_seed_and_tells_what_was_not_run(small, tmp_path):
    # IoU is hits / (hits + 2 misses): 60 and 40 without, 80 and 50 with.
    counts = {("host", 0): (6, 2), ("host", 1): (4, 3), ("full", 0): (8, 1), ("full", 1): (5, 2.5)}
    for run in read_plan(small).runs():
        if (found := counts.get((run.row.name, run.seed))) is not None:
            values = {"scenes": {"west": scores(*found)}, "validation": 0.5}
            (tmp_path / f"{run.name}.json").write_text(json.dumps(values))
        elif run.row.name == "oracle":
            values = {"scenes": {}, "validation": 0.75 + 0.1 * run.seed}
            (tmp_path / f"{run.name}.json").write_text(json.dumps(values))
    lines = {line.split("|")[1].strip(): line for line in table(read_plan(small), tmp_path)}
    assert "| 2 | 50.0 ± 14.1 | 50.0 ± 0.0 | 50.0 ± 0.0 | 25.0 ± 0.0 | 3.0 ± 0.0 |" in lines["host"]
    assert "| 2 | 65.0 ± 21.2 |" in lines["full"]
    assert lines["full"].endswith("| +15.0 ± 7.1 |")
    assert "| 0 | not run |" in lines["discriminative"]
    assert "| 2 | n/a | 80.0 ± 7.1 | n/a |" in lines["oracle"]


def test_a_run_of_before_a_setting_existed_is_still_that_run(small, tmp_path):
    run = next(run for run in read_plan(small).runs() if run.row.name == "full")
    old = run.settings()
    del old["config"]["sample"]["nfe"]  # its default is what the preset has
    path = tmp_path / f"{run.name.rpartition('_')[0]}_0123abcd.json"
    path.write_text(json.dumps(old))
    assert run.find(tmp_path) == path
    others = [other for other in read_plan(small).runs() if other.name != run.name]
    assert [other.find(tmp_path) for other in others] == [None] * len(others)
    path.write_text(json.dumps(old | {"seed": 5}))
    assert run.find(tmp_path) is None


def test_it_is_told_how_long_the_missing_runs_take(small, tmp_path):
    runs = list(read_plan(small).runs())
    assert what_is_left(read_plan(small), tmp_path) == "12 of 12 runs are missing"
    # of one that was stopped and went on nobody knows
    for run, seconds in zip(runs, (3600, 7200, None), strict=False):
        (tmp_path / f"{run.name}.json").write_text(json.dumps({"seconds": seconds}))
    assert what_is_left(read_plan(small), tmp_path) == "9 of 12 runs are missing, about 14 hours"
    for run in runs:
        (tmp_path / f"{run.name}.json").write_text(json.dumps({"seconds": 1}))
    assert what_is_left(read_plan(small), tmp_path) == "all runs are done"


def test_a_row_is_told_split_by_split_and_class_by_class(small, tmp_path):
    text = SMALL.replace('west = ["west"] }', 'west = ["west"], east = ["east"] }')
    assert text != SMALL
    small.write_text(text)
    for run in read_plan(small).runs():
        if run.split != "east" and run.row.name in ("host", "full"):
            # Of the first class 6 are hit, 2 missed and 1 is wrong; of the second 7 are hit.
            confusion = [[6, 2], [1, 7]] if run.row.name == "full" else [[4, 4], [4, 4]]
            scene = scores(0, 0) | {"confusion": confusion, "classes": {"land": {}, "water": {}}}
            values = {"scenes": {"west": scene}, "validation": 0.5}
            (tmp_path / f"{run.name}.json").write_text(json.dumps(values))
    lines = list(table_by_split(read_plan(small), tmp_path, "full"))
    assert lines[0] == "| held out | mIoU | against host | accuracy | land | water |"
    # 6/9 and 7/10; the host has 4/12 of both.
    assert "| 68.3 | +35.0 ± 0.0 | 81.2 | 66.7 | 70.0 |" in lines[2]
    assert lines[3] == "| east | not run | | | | |"
    assert "against" not in next(table_by_split(read_plan(small), tmp_path, "host"))
    with pytest.raises(click.UsageError, match="nothing is known of discriminative"):
        list(table_by_split(read_plan(small), tmp_path, "discriminative"))


def test_the_table_of_scenes_in_the_documentation_is_that_of_the_runs():
    page = (FOLDER.parents[1] / "docs/explanation/evidence.md").read_text(encoding="utf-8")
    plan = read_plan(FOLDER / "leave_one_out_cpu.toml")
    assert "\n".join(table_by_split(plan, FOLDER / "runs", "full")) in page


@pytest.mark.parametrize(
    "name", ["components_cpu", "choices_cpu", "second_split_cpu", "repairs_cpu", "paper_cpu"]
)
def test_the_table_of_the_documentation_is_that_of_the_runs(name):
    page = (FOLDER.parents[1] / "docs/explanation/evidence.md").read_text(encoding="utf-8")
    plan = read_plan(FOLDER / f"{name}.toml")
    assert "\n".join(table(plan, FOLDER / "runs")) in page


@pytest.mark.parametrize(("name", "most"), [("repairs_cpu", 0.0005), ("paper_cpu", 0.0025)])
def test_the_prior_of_a_small_network_is_as_dead_as_the_documentation_says(name, most):
    uses = []
    for run in read_plan(FOLDER / f"{name}.toml").runs():
        path = run.find(FOLDER / "runs")
        use = json.loads(path.read_text())["prior_use"] if path else {}
        uses += [abs(use["miou"] - use[other]) for other in use if other != "miou"]
    assert len(uses) >= 8
    assert max(uses) < most


def correction(scene, seed, own, other=None):
    """A run whose host has 50 points of mean IoU: 2 of 4 hit in both classes, none confused."""

    def confusion(hits):
        return [[hits, 12 - hits], [0, 0]]

    run = {"row": "flow", "scene": scene, "seed": seed, "host": confusion(6), "own": confusion(own)}
    return run | ({} if other is None else {"other": confusion(other)})


def test_seeds_are_averaged_before_scenes_are_compared():
    runs = [correction(1, 0, 9), correction(1, 1, 12), correction(2, 0, 3)]
    one, other = by_scene(runs, gain)
    assert one == pytest.approx(statistics.fmean(gain(run) for run in runs[:2]))
    assert one > 0 > other
    assert use(correction(1, 0, 9, other=6)) == pytest.approx(gain(correction(1, 0, 9)))
    assert math.isnan(use(correction(1, 0, 9)))


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1.0] * 6, 2 / 64),  # only all positive or all negative are as large
        ([1.0] * 7, 2 / 128),
        ([1.0, -1.0], 1.0),
        ([3.0, -1.0], 1.0),  # 4/4: |+-3 +- 1| >= 2 for all patterns
        ([2.0, 1.0, 1.0], 2 / 8),
    ],
)
def test_the_sign_flip_test_counts_patterns(differences, p):
    assert sign_flip(differences) == pytest.approx(p)


def test_the_interval_holds_the_mean_and_is_a_point_without_spread():
    low, high = interval([[1.0], [2.0], [4.0], [0.0]])
    assert 0.0 <= low < 1.75 < high <= 4.0
    assert interval([[2.0], [2.0, 2.0]]) == (2.0, 2.0)


def test_the_interval_knows_that_scenes_and_seeds_differ():
    """Of n scenes with k seeds the variance is that of scenes over n and that of seeds over nk."""
    rng = np.random.default_rng(0)
    scenes, seeds = 200, 3
    values = rng.normal(0.0, 1.0, (scenes, 1)) + rng.normal(0.0, 2.0, (scenes, seeds))
    low, high = interval(values.tolist())
    # a scene's mean has 1 + 4/3; drawing its seeds again adds 4/3 x 2/3
    expected = 2.0 * 1.96 * math.sqrt((1.0 + 4.0 / 3.0 + 8.0 / 9.0) / scenes)
    assert high - low == pytest.approx(expected, rel=0.15)
    assert interval(values.mean(axis=1, keepdims=True).tolist())[0] > low


@pytest.mark.parametrize(
    ("folder", "made"),
    [
        ("scores", paired_table),
        ("scores", scene_table),
        ("scores", shape_table),
        ("scores_decoder", paired_table),
        ("scores_decoder", scene_table),
        ("scores_decoder", shape_table),
    ],
)
def test_the_tables_of_corrections_in_the_documentation_are_those_of_the_runs(folder, made):
    page = (FOLDER.parents[1] / "docs/explanation/evidence.md").read_text(encoding="utf-8")
    assert "\n".join(made(FOLDER / "runs" / folder)) in page


def test_the_curve_is_drawn_of_rows_that_lack_scenes(tmp_path):
    draw(FOLDER / "runs/scores", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 10_000


@pytest.mark.slow
def test_an_experiment_runs_to_its_end_and_does_nothing_twice(small, tmp_path):
    small.write_text(SMALL.replace("seeds = [0, 1]", "seeds = [0]"))
    for name in ("east", "west"):
        for part in ("images", "labels"):
            (tmp_path / "data" / name / part).mkdir(parents=True)
        write_scene(tmp_path / "made", name, seed=len(name) + ord(name[0]), size=128)
        for part in ("images", "labels"):
            file = tmp_path / "made" / part / f"{name}.tif"
            file.rename(tmp_path / "data" / name / part / f"{name}.tif")
    command = [sys.executable, FOLDER / "run.py", small, "--data", tmp_path / "data"]
    command += ["--legend", tmp_path / "made/legend.json", "--out", tmp_path / "runs"]
    first = subprocess.run(command, check=False, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert "all runs are done" in first.stderr
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*.json")}
    assert len(made) == 6
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "training" not in again.stderr
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*.json")}
    assert after == made
    assert not list((tmp_path / "runs").glob("*.part"))
