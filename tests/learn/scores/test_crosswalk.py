import numpy as np
import pytest

from hyseg_cli.errors import HysegError, UsageProblemError
from hyseg_cli.learn.scores.crosswalk import match_legends
from hyseg_cli.legend import Legend, LegendClass


def legend(**names):
    return Legend(tuple(LegendClass(id=i, name=n, color=(i, i, 9)) for n, i in names.items()))


def test_names_decide_not_ids():
    walk = match_legends([legend(road=1, water=2)], legend(Water=1, ROAD=7), {})
    assert walk.legend.names == ("road", "water")
    assert walk.maps[0][:3].tolist() == [0, 1, 255]
    assert walk.reference[:3].tolist() == [1, 0, 255]
    assert not walk.unmatched.any()


def test_unknown_stays_unknown():
    walk = match_legends([legend(road=1)], legend(road=1), {})
    assert (walk.maps[0][255], walk.reference[255]) == (255, 255)


def test_merged_classes_take_id_and_colour_of_the_one_they_are_merged_into():
    walk = match_legends(
        [legend(lane=1, road=2, sea=3)], legend(street=1, sea=3), {"lane": "road", "street": "Road"}
    )
    assert [(c.id, c.name, c.color) for c in walk.legend.classes] == [
        (2, "road", (2, 2, 9)),
        (3, "sea", (3, 3, 9)),
    ]
    assert walk.maps[0][:3].tolist() == [0, 0, 1]
    assert walk.reference[:2].tolist() == [0, 1]


def test_what_is_left_out_is_no_stranger():
    walk = match_legends([legend(road=1)], legend(road=1, cloud=2, snow=3), {"cloud": None})
    assert walk.reference[:3].tolist() == [0, 255, 255]
    assert np.flatnonzero(walk.unmatched).tolist() == [2]


def test_two_maps_bring_the_classes_of_both():
    walk = match_legends([legend(road=1), legend(water=1, road=2)], legend(water=5, road=6), {})
    assert walk.legend.names == ("road", "water")
    assert len(set(walk.legend.ids)) == 2
    assert [table[:2].tolist() for table in walk.maps] == [[0, 255], [1, 0]]


def test_names_that_are_ids_count_as_the_class_of_the_id():
    walk = match_legends([legend(road=1, water=2)], legend(**{"2": 0, "1": 1}), {})
    assert walk.reference[:2].tolist() == [1, 0]


def test_nothing_in_common_is_told_with_both_lists():
    with pytest.raises(HysegError, match=r"no class in common: road against sand, rock"):
        match_legends([legend(road=1)], legend(sand=1, rock=2), {})
    with pytest.raises(UsageProblemError, match="has a class 'lane'"):
        match_legends([legend(road=1)], legend(road=1), {"lane": "road"})
