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


@pytest.mark.parametrize(("loaded", "spared"), [("sys", "scipy"), ("scipy", "scipy.linalg")])
def test_kernels_run_without_loading_scipy(loaded, spared):
    done = run(f"""
import sys
import {loaded}
{A_KERNEL_IS_USED}
assert "{spared}" not in sys.modules
""")
    assert done.returncode == 0, done.stderr


def test_a_kernel_that_was_compiled_before_loads_nothing_it_does_not_use():
    done = run(f"""
import sys
{A_KERNEL_IS_USED}
spared = {{"cffi", "numba.np.npyimpl", "pycparser", "scipy", "yaml"}}
assert not spared & set(sys.modules), spared & set(sys.modules)
import cffi, scipy.linalg, yaml
""")
    assert done.returncode == 0, done.stderr


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


def test_settings_of_numba_in_a_file_are_honoured(tmp_path):
    (tmp_path / ".numba_config.yaml").write_text("num_threads: 1\n")
    done = run(
        "from hyseg_cli.geo import compiled as kernels; from numba import config; "
        "assert config.NUMBA_NUM_THREADS == 1",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_a_warm_up_loads_all_kernels_that_tracing_needs():
    done = run("""
import numpy as np
from pathlib import Path
from hyseg_cli.geo.compiled import _SavedKernels
from hyseg_cli.geo.coverage.trace import warm_up

warm_up(smooth=True, simplify=True, check=True)
_SavedKernels.load_overload = None  # what is called now is there, or fails

from hyseg_cli.geo.coverage.runs import ArrayRows, seams
from hyseg_cli.geo.coverage.trace import Generalisation, trace_polygons
from hyseg_cli.geo.coverage.proof import Proof
from hyseg_cli.geo.coverage.regions import find_regions
from hyseg_cli.geo.coverage.wkb import to_wkb

classes = np.random.default_rng(0).integers(0, 3, (600, 50)).astype(np.uint8)
source = ArrayRows(classes, no_class=0)
found = find_regions(source, np.ones(600), Path())
proof = Proof(seams(600))
for batch in trace_polygons(source, found, Generalisation(True, 1.5), proof):
    to_wkb(batch.points, batch.ring_offsets, batch.polygon_offsets, reverse=True)
assert not proof.problems(len(found), None)
""")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("loaded", ["sys", "scipy"])
def test_others_can_still_compile_whatever_they_like(loaded):
    done = run(f"""
import {loaded}
import numba
{A_KERNEL_IS_USED}

@numba.njit
def products(a, b):
    return np.dot(a, b), np.convolve(a[0], b[0])

@numba.njit
def counted(parents):
    return number_sets(parents, np.zeros(len(parents), np.int32)) + len({{1: 2, 3: 4}})

a, b = np.random.default_rng(0).random((2, 3, 3))
dot, convolution = products(a, b)
np.testing.assert_allclose(dot, a @ b)
np.testing.assert_allclose(convolution, np.convolve(a[0], b[0]))
assert counted(np.array([0, 1, 1, 3], np.int32)) == 4
from numba.core import entrypoints
assert entrypoints._already_initialized
""")
    assert done.returncode == 0, done.stderr
