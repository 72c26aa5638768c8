"""Several tiles at once on a CPU, each on a share of its threads.

Threads that share a tile wait for each other after each layer; threads with a tile each do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

MOST = 8
"""Tiles at once, whatever the number of threads: each takes 50 to 130 MiB."""


def tiles_side_by_side() -> int:
    """How many tiles the threads of this process share."""
    return min(MOST, torch.get_num_threads())


class SideBySide:
    """Runs parts of a batch at once, each in a thread of its own; call it from one thread.

    What a part gives does not depend on the others: whether a batch is run whole or in pieces
    changes at most the number of threads of a part, and thereby the last digits.

    Args:
        run: What is done with one part.
        most: Parts at once.
    """

    def __init__(self, run: Callable[..., Tensor], most: int) -> None:
        self._run = run
        self._most = most
        self._pool: ThreadPoolExecutor | None = None

    def __call__(self, parts: Sequence[tuple[Tensor, ...]]) -> list[Tensor]:
        """What `run` gives for each part, in their order."""
        if len(parts) == 1:
            return [self._run(*parts[0])]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="tile")
        threads = torch.get_num_threads()
        each = max(1, threads // len(parts))
        try:
            return list(self._pool.map(lambda part: self._on_threads(each, part), parts))
        finally:
            # What is set in a thread also holds for threads that begin later.
            torch.set_num_threads(threads)

    def _on_threads(self, count: int, part: tuple[Tensor, ...]) -> Tensor:
        torch.set_num_threads(count)
        return self._run(*part)
