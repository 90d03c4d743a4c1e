"""BLAS with one thread: where others do the threading, or where the same bits are wanted.

The same as `threadpoolctl.threadpool_limits`, which looks for the libraries anew at each call: a
millisecond, in which a user can be folded in.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """A block in which BLAS has one thread."""
    block: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return block


@cache
def _libraries() -> ThreadpoolController:
    # NumPy and SciPy bring a BLAS each; what is not loaded by now would not be found.
    import scipy.linalg  # noqa: F401 - loads it

    return ThreadpoolController()
