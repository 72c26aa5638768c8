"""Working ahead in a thread."""

from contextlib import closing

import pytest

from hyseg_cli.geo.prefetch import prefetch


def numbers(count, closed, *, then=None):
    try:
        yield from range(count)
        if then is not None:
            raise then
    finally:
        closed.append(True)


@pytest.mark.parametrize("depth", [1, 3])
def test_items_come_in_order_and_an_error_behind_them(depth):
    closed = []
    items = prefetch(numbers(5, closed, then=KeyError("six")), depth)
    assert [next(items) for _ in range(5)] == list(range(5))
    with pytest.raises(KeyError, match="six"):
        next(items)
    assert closed


def test_what_is_worked_on_is_closed_when_the_caller_stops():
    closed = []
    with closing(prefetch(numbers(10**9, closed), 2)) as items:
        assert next(items) == 0
    assert closed


def test_lines_of_work_can_feed_each_other():
    closed = []

    def doubled(items):
        for item in items:
            yield 2 * item

    with closing(prefetch(doubled(prefetch(numbers(4, closed), 1)), 1)) as items:
        assert list(items) == [0, 2, 4, 6]
    assert closed
