"""Loops over pixels and points, compiled on first use and cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


def kernel(function: _Kernel) -> _Kernel:
    """Compile a function of numbers and numpy arrays; it runs without the interpreter's lock."""
    return cast("_Kernel", numba.njit(cache=True, nogil=True)(function))
