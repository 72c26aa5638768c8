"""What loading the kernels does to the process."""

import subprocess
import sys

import pytest


def run(program):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("loaded", "spared"), [("sys", "scipy"), ("scipy", "scipy.linalg")])
def test_kernels_run_without_loading_scipy(loaded, spared):
    done = run(f"""
import sys
import {loaded}
import numpy as np
from hyseg_cli.geo.arcs.regions import number_sets
assert number_sets(np.array([0, 1, 1, 3], np.int32), np.zeros(4, np.int32)) == 2
assert "{spared}" not in sys.modules
""")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("loaded", ["sys", "scipy"])
def test_others_can_still_compile_products_of_matrices(loaded):
    done = run(f"""
import {loaded}
import numba
import numpy as np
from hyseg_cli.geo.arcs import kernels

@numba.njit
def products(a, b):
    return np.dot(a, b), np.convolve(a[0], b[0])

a, b = np.random.default_rng(0).random((2, 3, 3))
dot, convolution = products(a, b)
np.testing.assert_allclose(dot, a @ b)
np.testing.assert_allclose(convolution, np.convolve(a[0], b[0]))
""")
    assert done.returncode == 0, done.stderr
