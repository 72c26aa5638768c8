"""The page of a training: curves that hold all values, and all that a run has to show."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hyseg_cli.cli.group import cli
from hyseg_cli.messages import Silence, format_duration
from hyseg_cli.report.training import (
    PAGE,
    Page,
    draw_plot,
    read_columns,
    smoothed,
    thinned,
)

VALUES = st.floats(-1e6, 1e6, allow_nan=False)


def series(values):
    return [(float(step + 1), value) for step, value in enumerate(values)]


def places(line):
    return [tuple(map(float, place.split(","))) for place in line.split()]


@given(columns=st.lists(st.lists(VALUES, min_size=1, max_size=300), min_size=1, max_size=3))
def test_curves_stay_inside_of_their_axes(columns):
    plot = draw_plot("x", {str(n): series(values) for n, values in enumerate(columns)})
    for curve in plot.curves:
        for x, y in itertools.chain(places(curve.line), places(curve.trend)):
            assert 0 <= x <= 200
            assert -0.01 <= y <= 80.01
    assert len(plot.ticks) == len(plot.steps) == 5


@given(low=VALUES, high=VALUES)
def test_the_marks_of_an_axis_are_the_values_at_their_places(low, high):
    plot = draw_plot("x", {"a": series([low, high])})
    marks = [float(text) for _, text in plot.ticks]
    span = marks[-1] - marks[0]
    assert marks == sorted(marks)
    for (_, y), value in zip(places(plot.curves[0].line), (low, high), strict=True):
        assert marks[0] + span * (80 - y) / 80 == pytest.approx(value, abs=0.06 * span)


@given(values=st.lists(VALUES, min_size=1, max_size=900))
def test_a_thinned_curve_is_short_and_has_the_same_mean_and_end(values):
    thin = thinned(series(values), 50)
    assert len(thin) <= max(50, 1)
    assert thin[-1][0] == len(values)
    if len(values) <= 50 or len(values) % 50 == 0:
        mean = sum(values) / len(values)
        assert sum(v for _, v in thin) / len(thin) == pytest.approx(mean, abs=1e-3)


def test_the_trend_of_a_constant_is_the_constant_and_few_points_have_none():
    assert smoothed(series([3.0] * 60)) == series([3.0] * 60)
    assert smoothed(series([3.0] * 39)) == []


def test_a_run_that_went_on_counts_where_it_computed_again(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,loss,miou,step\n0,4.0,,9\n0,3.0,,19\n0,,0.5,19\n")
    (tmp_path / "after_10").mkdir()
    again = tmp_path / "after_10" / "metrics.csv"
    again.write_text("epoch,loss,step\n0,2.5,19\n0,2.0,29\n0,,29\n")
    found = read_columns([tmp_path / "metrics.csv", again])
    assert found == {"loss": [(10, 4.0), (20, 2.5), (30, 2.0)], "miou": [(20, 0.5)]}


@pytest.mark.parametrize(("seconds", "text"), [(40, "40 s"), (720, "12 min"), (12600, "3.5 h")])
def test_durations_are_round(seconds, text):
    assert format_duration(seconds) == text


# ---- a training -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory, scene_folder):
    """A small training; its page as it was after each step that it was shown at, the last too."""
    folder = tmp_path_factory.mktemp("training")
    pages = []
    with pytest.MonkeyPatch.context() as patch:
        call = Page.__call__

        def kept(page, state):
            call(page, state)
            pages.append((state, (state.folder / PAGE).read_text(encoding="utf-8")))

        patch.setattr(Page, "__call__", kept)
        done = CliRunner().invoke(
            cli,
            [
                "train", "--images", str(scene_folder / "images"), "--labels",
                str(scene_folder / "labels"), "--out", str(folder / "m <i>.safetensors"),
                "--preset", "cpu_smoke+plain", "--steps", "4", "--val-every", "2",
                "--batch-size", "2", "--chip-size", "64", "--val-split", "0.5",
                "--licence", "CC0 & <b>",
            ],
        )  # fmt: skip
    assert done.exit_code == 0, done.output
    return done, pages


def test_a_training_says_once_where_its_page_is(trained):
    assert trained[0].stderr.count("training.html shows curves and pictures") == 1


def test_the_page_follows_the_training(trained):
    states = [state for state, _ in trained[1]]
    steps = [state.step for state in states if not state.is_done]
    assert steps == sorted(steps)
    assert {2, 4} <= set(steps)
    assert states[-1].is_done
    texts = [text for _, text in trained[1]]
    assert all('http-equiv="refresh"' in text for text in texts[:-1])
    assert 'http-equiv="refresh"' not in texts[-1]


def test_the_page_has_curves_pictures_scores_and_settings(trained):
    state, page = trained[1][-1]
    assert page.count("<polyline") >= 2
    assert page.count("data:image/jpeg;base64,") == 2
    assert f"{state.scores['segmentation'].mean_iou:.3f}" in page
    for name in state.scenes.legend.names:
        assert name in page
    assert re.search(r"<dt>preset</dt><dd>cpu_smoke\+plain</dd>", page)


def test_the_page_needs_nothing_from_elsewhere_and_escapes_names(trained):
    class Links(HTMLParser):
        found = ()

        def handle_starttag(self, tag, attrs):
            assert tag not in ("i", "b", "link", "iframe")
            kept = [value for name, value in attrs if name in ("src", "href", "srcset")]
            self.found = (*self.found, *kept)

    parser = Links()
    parser.feed(trained[1][-1][1])
    assert parser.found
    assert all(link.startswith("data:") for link in parser.found)


def test_a_page_that_cannot_be_written_does_not_end_the_training(trained, tmp_path):
    from dataclasses import replace

    told = []

    class Hearing(Silence):
        def note(self, text):
            told.append(text)

    page = Page(Hearing())
    state = replace(trained[1][-1][0], folder=tmp_path / "gone")
    page(state)
    page(state)
    (text,) = told
    assert "is not written" in text
