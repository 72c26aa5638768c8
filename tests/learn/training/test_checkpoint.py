import numpy as np
import pytest
import torch

from hyseg_cli.errors import HysegError
from hyseg_cli.learn.training.checkpoint import SafetensorsIO


def test_what_a_trainer_hands_over_comes_back(tmp_path):
    shared = torch.arange(6.0)
    checkpoint = {
        "global_step": 7,
        "state_dict": {"a.weight": shared.view(2, 3), "again": shared},
        "optimizer_states": [
            {
                "state": {0: {"step": torch.tensor(3.0)}, 1: {}},
                "param_groups": [{"betas": (0.9, 0.99)}],
            }
        ],
        "nothing": None,
        "flags": [True, False, 0.5, "text", ()],
        "empty": {},
    }
    path = tmp_path / "deep" / "last.safetensors"
    SafetensorsIO().save_checkpoint(checkpoint, path)
    found = SafetensorsIO().load_checkpoint(path)
    assert found.keys() == checkpoint.keys()
    np.testing.assert_array_equal(found["state_dict"]["a.weight"], shared.view(2, 3))
    np.testing.assert_array_equal(found["state_dict"]["again"], shared)
    assert found["optimizer_states"][0]["state"][0]["step"] == 3
    assert found["optimizer_states"][0]["state"][1] == {}
    assert found["optimizer_states"][0]["param_groups"] == [{"betas": (0.9, 0.99)}]
    for key in ("nothing", "flags", "empty", "global_step"):
        assert found[key] == checkpoint[key]
    assert [file.name for file in path.parent.iterdir()] == ["last.safetensors"]


def test_the_last_good_checkpoint_survives_a_failed_one(tmp_path, monkeypatch):
    path = tmp_path / "last.safetensors"
    SafetensorsIO().save_checkpoint({"global_step": 1}, path)

    def no_space(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hyseg_cli.learn.training.checkpoint.save_file", no_space)
    with pytest.raises(HysegError, match="No space left"):
        SafetensorsIO().save_checkpoint({"global_step": 2}, path)
    assert SafetensorsIO().load_checkpoint(path) == {"global_step": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_nothing_that_needs_a_pickle_is_stored(tmp_path):
    with pytest.raises(TypeError, match="cannot hold a ndarray"):
        SafetensorsIO().save_checkpoint({"a": np.zeros(3)}, tmp_path / "x.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"{}"])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "last.safetensors"
    path.write_bytes(content)
    with pytest.raises(HysegError, match="not a complete checkpoint"):
        SafetensorsIO().load_checkpoint(path)
