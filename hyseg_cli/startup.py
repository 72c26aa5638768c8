"""Loading what a command needs, without looking for garbage in between."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """A block of imports, and of whatever else loads what stays.

    Modules stay; yet Python's collector would look through their functions and classes dozens of
    times while they load: of the second or more that PyTorch takes a fifth.
    """
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_collecting:
            # Both together make what is there old at once: young it would be looked through again.
            gc.freeze()
            gc.unfreeze()
            gc.enable()
