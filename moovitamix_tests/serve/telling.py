"""What the app tells, written as the API writes it; and the plays of the small world, loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from moovitamix.serve.http.erased_users import ErasedUsers
from moovitamix.serve.http.group_commit import GroupCommit
from moovitamix.serve.http.taking import Listens, Play, Sent

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse
    from moovitamix_tests.serve.world import World

# When all plays of the small world were heard.
LOADED_AT = datetime(2026, 11, 20, 12)  # noqa: DTZ001 - the warehouse's moments have no zone


def tell(
    warehouse: Warehouse, user: int, tracks: Iterable[int], at: datetime | None = None
) -> None:
    """Have a user hear tracks."""
    moment = at or datetime.now(UTC).replace(tzinfo=None)
    plays = [Play(user, moment, track, 1) for track in tracks]

    async def write() -> None:
        commits = GroupCommit(
            warehouse, Listens(ErasedUsers(bytes), lambda: moment.replace(tzinfo=UTC)).write
        )
        await commits.commit(Sent(plays, [moment] * len(plays)), len(plays))
        await commits.close()

    asyncio.run(write())


def load_plays(warehouse: Warehouse, world: World) -> None:
    """Put what the world's matrix is made of into `listen_history`."""
    matrix = world.matrix
    users = np.repeat(matrix.users, np.diff(matrix.values.indptr)).tolist()
    tracks = matrix.tracks[matrix.values.indices].tolist()
    with warehouse.connect() as connection:
        connection.cursor().executemany(
            "INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth) "
            "VALUES (%s, %s, %s, %s, 1)",
            [
                (user, track, LOADED_AT, LOADED_AT)
                for user, track in zip(users, tracks, strict=True)
            ],
        )
