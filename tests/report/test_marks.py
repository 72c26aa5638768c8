"""Where marks stand on an axis."""

from __future__ import annotations

import math

import pytest

from hyseg_cli.report.evaluation import Axis, Whisker

NAN = float("nan")


@pytest.mark.parametrize(
    ("axis", "value", "place"),
    [
        (Axis(0.0, 4.0), 1.0, 25.0),
        (Axis(0.0, 4.0), 9.0, 100.0),
        (Axis(-2.0, 2.0), -1.0, 25.0),
        (Axis.around_zero([0.1, -0.5, NAN]), 0.0, 50.0),
        (Axis.around_zero([0.1, -0.5, NAN]), -0.5, 0.0),
        (Axis.from_zero([3.0, math.inf, 12.0]), 3.0, 25.0),
        (Axis.from_zero([]), 0.5, 50.0),
        (Axis.from_zero([0.0]), 0.0, 0.0),
    ],
)
def test_places_on_an_axis_by_hand(axis, value, place):
    assert axis.at(value) == place


def test_what_has_no_interval_has_no_mark():
    assert Whisker.of(Axis(0, 10), NAN, 5.0, NAN) is None
    assert Whisker.of(Axis(0, 10), 4.0, 5.0, 7.0, 1.0) == Whisker(40.0, 50.0, 70.0, 10.0)
