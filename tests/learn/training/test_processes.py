import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from learn.training_of_ranks import train

from hyseg_cli.errors import UsageProblemError
from hyseg_cli.learn.training.batches import training_loader, validation_loader
from hyseg_cli.learn.training.checkpoint import SafetensorsIO
from hyseg_cli.learn.training.processes import Processes, find_processes
from hyseg_cli.learn.training.stages import PriorStage

TESTS = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_PROCID", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, index):
        return {"image": torch.tensor(index)}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_processes_share_each_batch_and_every_validation_chip(count):
    parts = [
        [
            batch["image"].tolist()
            for batch in training_loader(Numbers(), 8, 0, Processes(count, rank=rank))
        ]
        for rank in range(count)
    ]
    for step in range(3):
        together = [number for part in parts for number in part[step]]
        assert together == list(range(8 * step, 8 * step + 8))
    seen = [
        int(i)
        for rank in range(count)
        for batch in validation_loader(Numbers(), 8, Processes(count, rank=rank))
        for i in batch["image"]
    ]
    assert sorted(seen) == list(range(24))


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(UsageProblemError, match="`batch_size` 8 cannot be shared by 3"):
        Processes(3).share_of(8)


def test_torchrun_and_slurm_say_which_process_this_is(monkeypatch):
    assert find_processes(1) == Processes()
    assert find_processes(4) == Processes(4)
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_NNODES", "2")
    monkeypatch.setenv("SLURM_PROCID", "5")
    assert find_processes(1) == find_processes(4) == Processes(4, 2, rank=5)
    for name, value in (
        ("TORCHELASTIC_RUN_ID", "x"), ("LOCAL_WORLD_SIZE", "2"), ("WORLD_SIZE", "6"), ("RANK", "3"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    assert find_processes(1) == Processes(2, 3, rank=3)
    with pytest.raises(UsageProblemError, match="2 processes were started"):
        find_processes(4)


PLACES = os.pathsep.join(map(str, [TESTS, TESTS.parent / "examples", *sys.path]))
PROGRAM = TESTS / "learn" / "training_of_ranks.py"


def run_two(folder, out, *stop):
    """The exit codes of two processes that train together, as torchrun starts them."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", PROGRAM, folder, out, *stop],
            env={
                **os.environ,
                "PYTHONPATH": PLACES,
                "GLOO_SOCKET_IFNAME": "lo",
                "TORCHELASTIC_RUN_ID": "test",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(29_500 + os.getpid() % 500),
                "WORLD_SIZE": "2",
                "LOCAL_WORLD_SIZE": "2",
                "GROUP_RANK": "0",
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "OMP_NUM_THREADS": "1",
            },
        )
        for rank in (0, 1)
    ]  # fmt: skip
    return [rank.wait(timeout=280) for rank in ranks]


def test_stage_one_learns_the_same_in_parts(tmp_path, scene_folder, monkeypatch):
    whole = train(scene_folder, tmp_path / "whole")
    monkeypatch.setattr(
        PriorStage, "parts", property(lambda _: 2, lambda _, __: None), raising=False
    )
    parts = train(scene_folder, tmp_path / "parts")
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
def test_two_processes_stopped_and_resumed_train_as_one(tmp_path, scene_folder):
    assert run_two(scene_folder, tmp_path / "two", "2") == [3, 3]
    assert SafetensorsIO().load_checkpoint(tmp_path / "two/prior/last.safetensors")[
        "global_step"
    ] == 2  # fmt: skip
    assert run_two(scene_folder, tmp_path / "two") == [0, 0]
    stage = train(scene_folder, tmp_path / "one")
    one, two = (
        SafetensorsIO().load_checkpoint(tmp_path / name / "prior" / "last.safetensors")
        for name in ("one", "two")
    )
    assert one["global_step"] == two["global_step"] == 4
    for state in ("state_dict", "current_model_state"):
        for name, tensor in one[state].items():
            torch.testing.assert_close(two[state][name], tensor, rtol=1e-4, atol=1e-6, msg=name)
    best = SafetensorsIO().load_checkpoint(tmp_path / "two" / "prior" / "best.safetensors")
    assert best["score"] == pytest.approx(stage.watched, abs=1e-3)
