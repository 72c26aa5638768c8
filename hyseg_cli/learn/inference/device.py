"""Which device a workflow runs on."""

from __future__ import annotations

import torch

from hyseg_cli.errors import UsageProblemError


def choose_device(name: str) -> torch.device:
    """The device called `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UsageProblemError: If it is none of these or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageProblemError(
            f"--device {name} is not a device", hint="Use auto, cpu, cuda or cuda:N."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageProblemError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices",
            hint="Use --device cpu, or install a CUDA build of PyTorch.",
        )
    if device.type not in ("cpu", "cuda"):
        raise UsageProblemError(
            f"--device {name} is not supported", hint="Use auto, cpu, cuda or cuda:N."
        )
    return device


def tiles_at_once(device: torch.device, most: int) -> int:
    """How many of at most so many tiles run through the network at once.

    On a CPU tiles run one by one: it is no slower, takes less memory, and a batch would change the
    last digits.
    """
    return 1 if device.type == "cpu" else most
