"""Loops over pixels and points, compiled on first use and cached on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


def _load_array_functions() -> None:
    """Load numba's functions of arrays, which the first kernel needs, without scipy.

    numba imports scipy.linalg only to see whether it is there. No kernel multiplies matrices, and
    that import takes longer than a small map takes to trace. Whoever compiles a product of
    matrices in the same process gets scipy as ever: numba asks for it again then.
    """
    if "scipy.linalg" in sys.modules or "numba.np.arraymath" in sys.modules:
        return  # it costs nothing any more
    # The package comes before its parts: if others have loaded it, only the part is in question.
    hidden = "scipy.linalg" if "scipy" in sys.modules else "scipy"
    sys.modules[hidden] = None  # type: ignore[assignment] # Python's way to say "not there"
    try:
        from numba.np import arraymath
    finally:
        del sys.modules[hidden]
    arraymath._HAVE_BLAS = True  # noqa: SLF001 - what it would have found


_load_array_functions()

import numba  # noqa: E402 - not before its array functions


def kernel(function: _Kernel) -> _Kernel:
    """Compile a function of numbers and numpy arrays; it runs without the interpreter's lock."""
    return cast("_Kernel", numba.njit(cache=True, nogil=True)(function))


def contracting_kernel(function: _Kernel) -> _Kernel:
    """A kernel in which a product and the sum it goes into may be rounded once, not twice.

    Processors that can do so are faster that way, and torch lets them, too.
    """
    compiled = numba.njit(cache=True, nogil=True, fastmath={"contract"})(function)
    return cast("_Kernel", compiled)


@kernel
def _same(number: int) -> int:
    return number


def get_ready() -> None:
    """Run a kernel, so that what all of them need is there.

    numba loads its tables of types and functions with the first one, in a quarter of a second. Who
    calls this chooses when.
    """
    _same(0)
