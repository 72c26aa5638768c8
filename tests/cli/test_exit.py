"""Signals end a command wherever they come."""

import signal
import sys
import time

import pytest

from hyseg_cli.cli.exit import Terminated, ending_in_order


class Raising:
    """Raises something as it is finalised, where Python drops exceptions."""

    def __init__(self, act):
        self.act = act

    def __del__(self):
        self.act()


@pytest.fixture
def heard():
    """Ctrl-C as on a terminal: what is started in the background of a shell is deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)],
    ids=["SIGTERM", "SIGINT"],
)
def test_a_signal_that_comes_while_an_object_is_finalised_is_not_lost(number, error):
    def work():
        Raising(lambda: signal.raise_signal(number))
        until = time.monotonic() + 30.0
        while time.monotonic() < until:
            time.sleep(0.01)

    with pytest.raises(error), ending_in_order():
        work()


def test_other_exceptions_of_finalisers_are_told_as_before(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    with ending_in_order():
        Raising([].pop)
    Raising({}.popitem)
    assert [one.exc_type for one in told] == [IndexError, KeyError]


@pytest.mark.usefixtures("heard")
def test_a_command_that_is_done_before_a_signal_comes_again_has_ended():
    with ending_in_order():
        Raising(lambda: signal.raise_signal(signal.SIGINT))
    time.sleep(0.2)
