"""What loading the kernels does to the process."""

import os
import subprocess
import sys

import pytest

A_KERNEL_IS_USED = """
import numpy as np
from hyseg_cli.geo.coverage.regions import number_sets
assert number_sets(np.array([0, 1, 1, 3], np.int32), np.zeros(4, np.int32)) == 2
"""


def run(program, folder=None, environment=None):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True, text=True, check=False, cwd=folder, env=environment,
    )  # fmt: skip


@pytest.mark.parametrize("is_saved", [True, False])
def test_kernels_are_compiled_and_saved_when_they_are_not_there(tmp_path, is_saved):
    program = f"""
{A_KERNEL_IS_USED}
assert len(number_sets.stats.cache_hits) == {int(is_saved)}
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    if is_saved:
        assert run(program.replace("== 1", "== 0"), environment=environment).returncode == 0
    done = run(program, environment=environment)
    assert done.returncode == 0, done.stderr


def test_kernels_run_in_the_interpreter_if_numba_is_told_so():
    done = run(
        f"{A_KERNEL_IS_USED}\nassert type(number_sets) is type(lambda: None)",
        environment=os.environ | {"NUMBA_DISABLE_JIT": "1"},
    )
    assert done.returncode == 0, done.stderr
