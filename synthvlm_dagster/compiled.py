"""How loops over millions of captions are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile a function with numba at its first call, and keep the machine code for the next process.

    numba notices that a kept function has changed by the file it is written in: what it calls belongs into the same.
    """
    try:
        kernel: Any = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        # No folder to keep the compiled code in: neither beside the file nor in the user's cache.
        kernel = numba.njit(nogil=True)(function)
    return kernel
