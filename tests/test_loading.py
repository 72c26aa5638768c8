"""Imports without the collector."""

import gc
import subprocess
import sys

import pytest

from hyseg_cli.loading import loading


def test_the_collector_rests_while_a_block_loads():
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_was_loaded_is_not_looked_through_soon():
    with loading():
        loaded = [[] for _ in range(1000)]
    young = {id(made) for generation in (0, 1) for made in gc.get_objects(generation)}
    assert not young & set(map(id, loaded))


def test_it_works_again_after_a_failure():
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()


def test_a_program_that_does_without_it_is_left_alone():
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("words", [("models", "list"), ("models", "show", "default")])
def test_nothing_is_complained_of_at_the_end(words):
    done = subprocess.run(
        [sys.executable, "-m", "hyseg_cli", *words], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
