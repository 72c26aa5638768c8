import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from models.gradients_of_two_ranks import Objective, batch, gradients
from safetensors.torch import load_file

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one_jvp_included(tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent / 'examples'}",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    ranks = [
        subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                TESTS / "models/gradients_of_two_ranks.py",
                str(rank),
                str(tmp_path),
            ],
            env=environment,
        )
        for rank in (0, 1)
    ]
    assert [rank.wait(timeout=250) for rank in ranks] == [0, 0]
    module = Objective()
    module(*batch()).backward()
    found, expected = load_file(tmp_path / "gradients.safetensors"), gradients(module)
    assert found.keys() == expected.keys()
    assert any("condition" in name and gradient.any() for name, gradient in found.items())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
