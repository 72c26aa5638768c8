import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyseg_cli.errors import HysegError
from hyseg_cli.legend import (
    Legend,
    LegendClass,
    distinct_color,
    format_color,
    natural_color,
    parse_color,
)

colors = st.tuples(*[st.integers(0, 255)] * 3)


@given(color=colors)
def test_colors_survive_a_round_trip(color):
    assert parse_color(format_color(color)) == color


@given(
    ids=st.lists(st.integers(0, 254), min_size=1, max_size=9, unique=True),
    data=st.data(),
)
def test_legends_survive_a_round_trip(ids, data):
    chosen = data.draw(st.lists(colors, min_size=len(ids) + 1, max_size=len(ids) + 1, unique=True))
    classes = tuple(
        LegendClass(id=i, name=f"class {i}", color=c) for i, c in zip(ids, chosen, strict=False)
    )
    legend = Legend(classes, ignored_colors=(chosen[-1],), ignored_ids=(255,))
    assert Legend.from_dict(json.loads(json.dumps(legend.to_dict()))) == legend


def entry(**changes):
    return {"id": 0, "name": "a", "color": "#000000"} | changes


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        ([], "no classes"),
        ([entry(), entry(name="b", color="#000001")], "id 0 appears twice"),
        ([entry(), entry(id=1, color="#000001")], "name a appears twice"),
        ([entry(), entry(id=1, name="b")], "color .* appears twice"),
        ([entry(id=255)], "not in 0..254"),
        ([entry(color="red")], "not a colour"),
        ([entry(color="#12345")], "not a colour"),
        ([entry(color="#12345678")], "not a colour"),
        ([{"id": 0}], "KeyError"),
        ("all", "TypeError"),
    ],
)
def test_what_is_no_legend_is_refused(classes, problem):
    with pytest.raises(HysegError, match=problem):
        Legend.from_dict({"classes": classes}).require_for_maps()


def test_classes_without_a_colour_get_different_ones():
    assert len({distinct_color(index) for index in range(255)}) == 255


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("Water", "river"), ("bare ground", "soil"), ("Tree canopy", "forest_2"),
        ("low vegetation", "grass"), ("farmland, ploughed", "crops"),
    ],
)  # fmt: skip
def test_classes_have_the_colours_that_maps_give_them(name, like):
    assert natural_color(name) == natural_color(like) is not None


def test_names_that_say_nothing_have_no_colour_of_their_own():
    assert [natural_color(name) for name in ("class 1", "17", "", "waterproof")] == [None] * 4


def test_class_rasters_of_others_may_have_any_ids_and_colours():
    legend = Legend.from_dict({"classes": [entry(id=311), entry(id=-5, name="b")]})
    assert legend.ids == (311, -5)
