"""Shortcuts on the way in and out, and the switch that does without them."""

import gc
import os
import subprocess
import sys

import pytest

from hyseg_cli.startup import loading


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


def test_without_shortcuts_the_collector_goes_on(monkeypatch):
    monkeypatch.setenv("HYSEG_SHORTCUTS", "off")
    with loading():
        assert gc.isenabled()


@pytest.mark.parametrize(("switch", "is_there"), [("on", False), ("off", True)])
def test_a_spared_package_cannot_be_imported_unless_shortcuts_are_off(switch, is_there):
    program = "from hyseg_cli.startup import spare; spare('tomllib'); import tomllib"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"HYSEG_SHORTCUTS": switch},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) is is_there


def test_importing_the_package_takes_no_shortcut():
    program = (
        "import gc, sys; before = gc.get_freeze_count()\n"
        "import hyseg_cli, hyseg_cli.api, hyseg_cli.cli.group, hyseg_cli.geo.compiled\n"
        "assert gc.isenabled() and gc.get_freeze_count() == before\n"
        "assert None not in [sys.modules.get(name, 0) for name in ('scipy', 'yaml', 'pandas')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


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


def ended(act):
    """How a process ends in which the command line is `act`, with its output."""
    program = f"""
import atexit, sys
from hyseg_cli import __main__ as entry
def act(prog_name):
    {act}
entry.cli = act
atexit.register(print, "done before")
entry.main()
"""
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("code", [0, 3, 130])
def test_the_end_keeps_the_exit_code_and_all_output(code):
    act = f"atexit.register(print, 'done after'); print('x' * 100_000, end='|'); sys.exit({code})"
    done = ended(act)
    assert done.returncode == code
    # What others left to do at the end is done, the last that came first.
    assert done.stdout == "x" * 100_000 + "|done after\ndone before\n"
    assert done.stderr == ""


def test_what_was_not_foreseen_is_reported_as_python_does():
    done = ended("raise ValueError('what')")
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: what\n")


def test_a_thread_that_is_at_work_is_waited_for():
    late = "import time; time.sleep(0.3); print('from the thread')"
    done = ended(
        f"import threading; threading.Thread(target=exec, args=({late!r},)).start(); sys.exit(4)"
    )
    assert done.returncode == 4
    assert done.stdout.startswith("from the thread\n")
