"""Loops over pixels and points, compiled on first use and cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def kernel(function: _Function) -> _Function:
    """Compile a function of numbers and numpy arrays; it runs without the interpreter's lock."""
    return cast("_Function", numba.njit(cache=True, nogil=True)(function))


def inlined_kernel(function: _Function) -> _Function:
    """A kernel that is inlined into its callers, for code that runs about once per edge.

    A call would pass seven numbers for every array.
    """
    return cast("_Function", numba.njit(cache=True, nogil=True, forceinline=True)(function))


def contracting_kernel(function: _Function) -> _Function:
    """A kernel that may round a product and the sum it goes into once instead of twice.

    That is faster on processors that support it, and torch does the same.
    """
    return cast("_Function", numba.njit(cache=True, nogil=True, fastmath={"contract"})(function))
