"""What a cluster gains and costs: two nodes against one, and the engine beside the work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster.conftest import SmallCluster

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def rate():
    pytest.importorskip("ray")
    cluster = SmallCluster(HERE)

    def measure(what, workers, tasks):
        return float(
            subprocess.run(
                [
                    *(sys.executable, "-W", "ignore", "-c"),
                    # By name, so that workers find it.
                    "import cluster_rates; cluster_rates.main()",
                    *map(str, (what, workers, tasks)),
                ],
                env=cluster.environment,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout.split()[-1]
        )

    yield measure
    cluster.stop()


@pytest.mark.bench
def test_two_nodes_against_one(rate, capsys):
    one, two = rate("tiles", 1, 12), rate("tiles", 2, 24)
    with capsys.disabled():
        print(
            f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}: a tile each {one:.2f} s on "
            f"one node of one core, each {two:.2f} s on two: {one / two:.2f} times as fast"
        )


@pytest.mark.bench
def test_what_the_engine_costs(rate, capsys):
    second = rate("naps", 1, 22)
    with capsys.disabled():
        print(
            f"\nload {os.getloadavg()[0]:.1f}: {1000 * (second - 1):.1f} ms beside each task of a "
            f"second, {100 * (second - 1) / second:.2f} %"
        )
