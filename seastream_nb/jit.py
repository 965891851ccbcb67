"""Compiling loops with numba: importing this module imports numba, which is optional.

Only the `compiled` modules of the backends import it, and they are imported through a door that
knows what to do where numba is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

Array = np.ndarray[Any, Any]
Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(signature: Any) -> Callable[[Function], Function]:
    """Compile a function for these types, or load it from numba's cache; it releases the GIL.

    The cache sees only changes of the function's own file: who changes what a kernel calls
    removes `__pycache__/*.nb?` beside it.
    """

    def compile_now(function: Function) -> Function:
        try:
            kernel = numba.njit(signature, nogil=True, cache=True)(function)
        except (RuntimeError, OSError):  # nowhere to write the cache
            kernel = numba.njit(signature, nogil=True)(function)
        return cast("Function", kernel)

    return compile_now


def inlined(function: Function) -> Function:
    """Make a function usable in compiled ones."""
    # Without a signature it is compiled only as part of a kernel, so a cached kernel skips it.
    return cast("Function", numba.njit(nogil=True, forceinline=True)(function))


@inlined
def byte_at(data: Array, at: int) -> Any:
    """One byte; the offset is not negative."""
    # An unsigned index cannot count from the end. That saves the test for it: a third of the time
    # of a scan, and nine tenths of a copy, whose loop becomes one of vectors.
    return data[np.uintp(at)]
