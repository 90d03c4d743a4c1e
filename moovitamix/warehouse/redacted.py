"""Errors of Postgres without the rows that they quote: those may be personal, and are logged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


@contextmanager
def redacted() -> Iterator[None]:
    """Let errors of Postgres say what is wrong, not in which row.

    Of a broken constraint, a line of COPY or a JSON that cannot be read, DETAIL and CONTEXT quote
    the row. The type and `diag` stay as they are.
    """
    try:
        yield
    except psycopg.Error as error:
        told = error.diag.message_primary
        if told is not None:  # else it is the client's own, of a connection
            hint = error.diag.message_hint
            error.args = (f"{told}. {hint}" if hint else told,)
        raise
