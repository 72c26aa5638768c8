"""Memory that is free, but not the system's."""

from __future__ import annotations

import ctypes
import sys


def give_back_freed() -> bool:
    """Hand freed memory back to the system; whether there was any, False where it cannot be asked.

    Readers, writers and networks take and free large arrays of ever other sizes, in several
    threads. glibc keeps what lies between those in use, and over many strips that grows to more
    than all that is in use.
    """
    if sys.platform != "linux":
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    return trim is not None and bool(trim(0))
