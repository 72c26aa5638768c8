"""Legends of sources, told in the classes of the common one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.learn.sources.label_sets import LabelSets
from hyseg_cli.learn.sources.mapping import match_classes
from hyseg_cli.learn.sources.source_scores import Collapse
from hyseg_cli.legend import Legend, LegendClass, distinct_color


def legend_of(*names):
    return Legend(
        tuple(LegendClass(id=i, name=name, color=distinct_color(i)) for i, name in enumerate(names))
    )


COMMON = legend_of("building", "road", "bare", "grass", "trees", "water")
PARTIAL = legend_of("unknown", "not vegetation", "green", "tree")
RULES = {
    "unknown": ["any"],
    "not vegetation": ["building", "road", "bare", "water"],
    "green": ["grass", "trees"],
    "tree": ["trees"],
}


def partial():
    return match_classes("california", PARTIAL, COMMON, RULES)


def test_classes_match_by_name_and_by_rule():
    own = legend_of("Water", "forest", "urban", "haze", "no roof")
    rules = {
        "forest": ["trees"],
        "2": ["building", "road"],
        "haze": ["any"],
        "no roof": ["not building"],
    }
    found = match_classes("x", own, COMMON, rules)
    assert found.sets == ({5}, {4}, {0, 1}, set(range(6)), {1, 2, 3, 4, 5})
    assert list(found.distinguished.values()) == ["Water", "forest", "urban", "no roof"]


@pytest.mark.parametrize(
    ("own", "rules", "words"),
    [
        (("water",), {"lake": ["water"]}, "no class 'lake'"),
        (("lake",), {"lake": ["ocean"]}, "'ocean', which is not a class of the common legend"),
        (("lake",), {}, "not said what its class 'lake' is"),
        (("lake",), {"lake": ["any"]}, "none of its classes says anything"),
        (("lake",), {"lake": []}, "empty"),
        (("lake",), {"lake": ["water"], "Lake": ["water"]}, "rules for one class"),
        (("lake",), {"lake": ["water"], "0": ["trees"]}, "rules for one class"),
        (("lake",), {"lake": ["water", "not building"]}, "'water' twice"),
        (("lake",), {"lake": ["not ocean"]}, "not a class of the common legend"),
    ],
)
def test_mappings_that_cannot_be_used_are_refused_with_a_hint(own, rules, words):
    with pytest.raises(UsageProblemError, match=words) as raised:
        match_classes("x", legend_of(*own), COMMON, rules)
    assert raised.value.message.startswith("source x: ")
    assert raised.value.hint


def test_labels_below_the_number_of_classes_are_their_channels():
    labels = LabelSets.of(6, partial().sets)
    assert len(labels) == 8
    encoding = partial().encoding(labels)
    table = labels.table()
    assert (table[:6] == np.eye(6, dtype=bool)).all()
    assert encoding[0] == 255
    assert encoding[3] == 4
    assert set(np.flatnonzero(table[encoding[1]])) == {0, 1, 2, 5}
    assert set(np.flatnonzero(table[encoding[2]])) == {3, 4}
    assert (encoding[4:] == 255).all()


@given(
    st.integers(2, 7).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.frozensets(st.integers(0, n - 1)), max_size=8))
    )
)
def test_every_set_has_a_label_that_stands_for_it(given_sets):
    classes, sets = given_sets
    labels = LabelSets.of(classes, sets)
    assert LabelSets.of(classes, reversed(sets)) == labels
    for one in sets:
        label = labels.label_of(one)
        if label == 255:
            assert len(one) in (0, classes)
        else:
            assert labels.allowed_by(label) == one
            assert set(np.flatnonzero(labels.table()[label])) == one


def test_pixels_of_sets_count_for_their_classes_in_equal_parts():
    labels = LabelSets.of(3, [frozenset({0, 2})])
    np.testing.assert_allclose(labels.counts_of_classes(np.array([10, 5, 0, 8])), [14, 5, 4])


def test_a_prediction_that_the_label_allows_is_right_whatever_it_is():
    labels = LabelSets.of(6, partial().sets)
    collapse = Collapse.of(partial(), labels)
    encoding = partial().encoding(labels)
    assert collapse.legend.names == ("not vegetation", "green", "tree")
    assert collapse.excluded == ()
    # reference: not vegetation, green, green, tree, tree, not vegetation, unknown
    reference = encoding[[1, 2, 2, 3, 3, 1, 0]]
    predicted = np.array([5, 4, 3, 4, 3, 4, 0], np.uint8)
    assert collapse.reference[reference].tolist() == [0, 1, 1, 2, 2, 0, 255]
    # Wrong ones count as the narrowest class they are in: grass as green, a tree as a tree.
    assert collapse.mapped(reference, predicted).tolist()[:6] == [0, 1, 1, 2, 1, 2]


def test_a_prediction_that_no_class_of_the_source_stands_for_is_other():
    own = match_classes("x", legend_of("water", "trees"), COMMON, {})
    labels = LabelSets.of(6, own.sets)
    collapse = Collapse.of(own, labels)
    assert collapse.legend.names == ("water", "trees", "other")
    assert collapse.excluded == (2,)
    reference = np.array([5, 4, 5], np.uint8)
    assert collapse.mapped(reference, np.array([5, 0, 255], np.uint8)).tolist() == [0, 2, 255]


def test_a_source_with_the_common_legend_is_compared_as_it_is():
    own = match_classes("x", COMMON, COMMON, {})
    collapse = Collapse.of(own, LabelSets(6))
    reference, predicted = np.divmod(np.arange(36, dtype=np.uint8), 6)
    assert (collapse.reference[reference] == reference).all()
    assert (collapse.mapped(reference, predicted) == predicted).all()
    assert collapse.legend.names == COMMON.names


def test_classes_that_stand_for_the_same_are_one():
    own = match_classes(
        "x", legend_of("roof", "road"), COMMON, {n: ["building", "road"] for n in ("roof", "road")}
    )
    assert Collapse.of(own, LabelSets.of(6, own.sets)).legend.names == ("roof or road", "other")
