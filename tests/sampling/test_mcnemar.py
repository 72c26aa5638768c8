"""McNemar's exact test, by hand."""

import numpy as np
import pytest

from hyseg_cli.sampling.estimates import McNemar


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [
        # Of six tosses none: 2 / 64. Of five one or none: 2 * (1 + 5) / 32. Even: certain.
        (6, 0, 2 / 64),
        (1, 4, 12 / 32),
        (3, 3, 1.0),
        (0, 0, 1.0),
    ],
)
def test_it_is_the_chance_of_so_uneven_a_split(only_first, only_second, expected):
    first = np.repeat([True, False, True, False], [only_first, only_second, 5, 2])
    second = np.repeat([False, True, True, False], [only_first, only_second, 5, 2])
    found = McNemar.of(first, second)
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert (found.both, found.neither) == (5, 2)
    assert found.p_value == pytest.approx(expected)
