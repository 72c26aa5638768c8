"""Two machines under torchrun, both of them this one."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys

import pytest
from learn.training.test_processes import PLACES, PROGRAM
from learn.training_of_ranks import STEPS, train


def losses(folder):
    """What the steps logged, by the name of the column."""
    (path,) = folder.rglob("metrics.csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        name: [float(row[name]) for row in rows if row[name]]
        for name in rows[0]
        if "loss" in name and "val" not in name
    }


@pytest.mark.slow
def test_two_machines_learn_with_the_losses_of_one(tmp_path, scene_folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = [
        subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-m", "torch.distributed.run"),
                *("--nnodes", "2", "--node-rank", str(rank), "--nproc-per-node", "1"),
                *("--master-addr", "127.0.0.1", "--master-port", str(port)),
                *(PROGRAM, scene_folder, tmp_path / "two"),
            ],
            env={
                **os.environ,
                "PYTHONPATH": PLACES,
                "GLOO_SOCKET_IFNAME": "lo",
                "OMP_NUM_THREADS": "1",
            },
        )
        for rank in (0, 1)
    ]
    assert [machine.wait(timeout=280) for machine in machines] == [0, 0]
    train(scene_folder, tmp_path / "one")
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert one.keys() == two.keys()
    assert max(map(len, one.values())) >= STEPS / 2
    for name, values in one.items():
        assert two[name] == pytest.approx(values, rel=1e-3), name
