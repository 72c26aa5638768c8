"""The processes that train together, one for each device, and the number of this one."""

from __future__ import annotations

import os
from dataclasses import dataclass

from hyseg_cli.errors import UsageProblemError


@dataclass(frozen=True)
class Processes:
    """All processes of a training, seen from one of them."""

    on_node: int = 1
    """On each machine."""
    nodes: int = 1
    """Machines; the folder of the run must be the same on all of them."""
    rank: int = 0
    """Number of this one, from 0."""

    @property
    def count(self) -> int:
        return self.on_node * self.nodes

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def share_of(self, batch_size: int) -> int:
        """Chips of each step for each process.

        Raises:
            UsageProblemError: If they cannot be divided evenly.
        """
        if batch_size % self.count:
            raise UsageProblemError(
                f"`batch_size` {batch_size} cannot be shared by {self.count} processes",
                hint=f"Use a multiple of {self.count}; all of them share the batch.",
            )
        return batch_size // self.count


def find_processes(devices: int) -> Processes:
    """The processes that torchrun or SLURM has started; otherwise `devices` on this machine.

    Raises:
        UsageProblemError: If their number differs from `devices`.
    """
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        on_node, everywhere = int(env["LOCAL_WORLD_SIZE"]), int(env["WORLD_SIZE"])
        found = Processes(on_node, everywhere // on_node, int(env["RANK"]))
    elif int(env.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in env:
        nodes = int(env.get("SLURM_NNODES", "1"))
        found = Processes(int(env["SLURM_NTASKS"]) // nodes, nodes, int(env["SLURM_PROCID"]))
    else:
        # Lightning numbers the processes that it starts beside the first.
        return Processes(devices, rank=int(env.get("LOCAL_RANK", "0")) if devices > 1 else 0)
    if devices not in (1, found.on_node):
        raise UsageProblemError(
            f"`devices` {devices}, but {found.on_node} processes were started on this machine",
            hint="Leave out `devices`: torchrun or SLURM decide.",
        )
    return found
