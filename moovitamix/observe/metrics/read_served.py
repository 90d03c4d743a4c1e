"""Figures of what is served, and of what it would be made of: Redis, and the current matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from moovitamix.errors import NothingToDo
from moovitamix.observe.metrics import model_families as families
from moovitamix.observe.metrics.batch_families import STORE_BYTES
from moovitamix.observe.metrics.samples import Read, Sample, end_of
from moovitamix.serve.generations import Generation, read_current, with_added
from moovitamix.serve.memory import used_memory

if TYPE_CHECKING:
    import psycopg
    import redis

    from moovitamix.ingest.lake import LakeStore

_KINDS = {
    "u": "users",
    "r": "repeats",
    "g": "genres of users",
    "t": "tracks",
    "p": "popular",
}

_TO_SERVE = """
SELECT (SELECT count(*) FROM users WHERE withdrawn_at IS NULL),
       (SELECT count(*) FROM tracks WHERE withdrawn_at IS NULL)
"""


def read_cache(client: redis.Redis, prefix: str) -> tuple[list[Read], Generation | None]:
    """What Redis holds, and the generation that is served, with the lists added to it since.

    Raises:
        StoreUnavailable: When Redis does not answer.
    """
    found: list[Read] = [Sample(STORE_BYTES, ("redis", "all"), used_memory(client))]
    current = read_current(client, prefix)
    if current is not None:
        current = with_added(client, prefix, current)
        for moment, seconds in (
            ("data", end_of(current.as_of)),
            ("published", current.published_at.timestamp()),
            ("expires", current.expires_at.timestamp()),
        ):
            found.append(Sample(families.GENERATION, (moment,), seconds))
        found += [
            Sample(families.CACHE_LISTS, (name,), current.keys.get(kind, 0))
            for kind, name in _KINDS.items()
        ]
    return found, current


def read_coverage(connection: psycopg.Connection, served: Generation) -> Iterator[Read]:
    """Of users and tracks, those that have lists."""
    found = connection.execute(_TO_SERVE).fetchone()
    users, tracks = found or (0, 0)
    for kind, key, all_there_are in (("users", "u", users), ("tracks", "t", tracks)):
        if all_there_are:
            covered = min(1.0, served.keys.get(key, 0) / all_there_are)
            yield Sample(families.COVERAGE, (kind,), covered)


def read_lake(lake: LakeStore) -> Iterator[Read]:
    """How old the current matrix is."""
    from moovitamix.recommend.artifacts import current_matrix

    try:
        yield Sample(families.MATRIX_DATA, (), end_of(current_matrix(lake).as_of))
    except NothingToDo:
        return  # none has been made
