"""Reads who and what is no longer served: withdrawn users, withdrawn or blocked tracks.

What users hide for themselves is in `hidden.py`.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, NamedTuple

from moovitamix.settings import get_settings
from moovitamix.warehouse.blocklist import BLOCKED_TRACKS

if TYPE_CHECKING:
    import psycopg

_REMOVED = f"""
SELECT id FROM tracks WHERE withdrawn_at IS NOT NULL OR id IN ({BLOCKED_TRACKS})
"""  # noqa: S608 - a constant of the blocklist
_WITHDRAWN_USERS = "SELECT id FROM users WHERE withdrawn_at IS NOT NULL"


class Removals(NamedTuple):
    """Ids.

    Attributes:
        tracks: Withdrawn and blocked ones.
        users: Withdrawn ones.
    """

    tracks: frozenset[int]
    users: frozenset[int]


def read_removals(connection: psycopg.Connection) -> Removals:
    """Those of today."""
    today = get_settings().present().astimezone(UTC).date()
    removed = connection.execute(_REMOVED, {"today": today}).fetchall()
    users = connection.execute(_WITHDRAWN_USERS).fetchall()
    return Removals(frozenset(track for (track,) in removed), frozenset(user for (user,) in users))
