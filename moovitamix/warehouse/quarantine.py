"""What waits in quarantine, told by endpoint and reason, and what of it can be loaded by now.

How it gets there is told by `statements.py`: listens of the unknown, and records that broke the
contract. Payloads may be personal: they leave this module only in `WaitingRow.payload`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import msgspec
import polars as pl
import psycopg

from moovitamix.ingest.contract import ENDPOINTS, LISTENS, TRACKS, USERS, Endpoint
from moovitamix.ingest.deal import PullTimes, deal
from moovitamix.ingest.decode import decode_records
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pull import last_day_over
from moovitamix.ingest.pulls import brought_after, kept_pulls, known_contents, latest_of
from moovitamix.ingest.settle import settle, unite
from moovitamix.ingest.slices import read_contents
from moovitamix.warehouse.publish import load_staged, take_turn
from moovitamix.warehouse.stage import copy_to_staging, typed_listens, typed_tracks, typed_users

_STAGED = {
    TRACKS.name: ("staged_tracks", typed_tracks),
    USERS.name: ("staged_users", typed_users),
    LISTENS.name: ("staged_listens", typed_listens),
}

_GROUPS = """
SELECT endpoint, field, reason, count(*)
FROM quarantine
WHERE resolved_at IS NULL AND (%(endpoint)s::text IS NULL OR endpoint = %(endpoint)s)
GROUP BY endpoint, field, reason
ORDER BY count(*) DESC, endpoint, field, reason
"""

_NEWEST = """
SELECT endpoint, day, first_seen, field, reason, payload
FROM quarantine
WHERE resolved_at IS NULL AND (%(endpoint)s::text IS NULL OR endpoint = %(endpoint)s)
ORDER BY first_seen DESC, endpoint, sha256
LIMIT %(limit)s
"""

# Of a blocked day nothing is published, so what broke the contract on it waits as well.
_REJECTED = """
SELECT payload, sha256, day, pull
FROM quarantine
WHERE endpoint = %(endpoint)s AND resolved_at IS NULL
  AND day IN (SELECT day FROM published_days)
ORDER BY pull, sha256
"""

_RESOLVE = """
UPDATE quarantine SET resolved_at = now(), last_tried = now()
WHERE endpoint = %(endpoint)s AND sha256 = ANY(%(sha256)s)
"""

# Of listens the moment must be known as well as the user.
_KEYED = """
SELECT sha256, pull, key FROM quarantine
WHERE endpoint = %(endpoint)s AND resolved_at IS NULL AND key IS NOT NULL
  AND (endpoint <> 'listen_history' OR key LIKE '%% %%')
"""

_STILL_BROKEN = """
UPDATE quarantine SET last_tried = now(), field = %(field)s, reason = %(reason)s
WHERE endpoint = %(endpoint)s AND sha256 = sha256(%(payload)s) AND resolved_at IS NULL
"""

# A rejected record that the source still sends is tried again by each publication that follows a
# pull. Listens of the unknown wait for as long as it takes: nothing else would bring them back.
_FORGET = """
DELETE FROM quarantine
WHERE resolved_at < %(before)s
   OR (resolved_at IS NULL AND endpoint <> 'listens' AND last_tried < %(before)s)
"""

# Within a transaction `now()` stands still.
_RESOLVED_NOW = """
SELECT endpoint, count(*) FROM quarantine WHERE resolved_at = now() GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True)
class Group:
    """How many records of an endpoint wait for the same reason."""

    endpoint: str
    field: str | None
    reason: str
    count: int


@dataclass(frozen=True)
class WaitingRow:
    """One record, or one listen, that waits. The payload may be personal."""

    endpoint: str
    day: date
    first_seen: datetime
    field: str | None
    reason: str
    payload: bytes


@dataclass(frozen=True)
class Retried:
    """What a retry did.

    Args:
        resolved: By endpoint, rows of the quarantine that wait no longer.
        inserted: By table, rows that are new.
        waiting: What still waits.
    """

    resolved: Mapping[str, int]
    inserted: Mapping[str, int]
    waiting: Sequence[Group]


def waiting_groups(connection: psycopg.Connection, endpoint: str | None = None) -> list[Group]:
    """What waits, counted by endpoint, field and reason; the most frequent first."""
    return [Group(*row) for row in connection.execute(_GROUPS, {"endpoint": endpoint}).fetchall()]


def newest_waiting(
    connection: psycopg.Connection, endpoint: str | None = None, *, limit: int
) -> list[WaitingRow]:
    """The rows that came last."""
    rows = connection.execute(_NEWEST, {"endpoint": endpoint, "limit": limit})
    return [WaitingRow(*row) for row in rows.fetchall()]


def retry(
    connection: psycopg.Connection, lake: LakeStore, *, present: datetime, first_day: date
) -> Retried:
    """Load now what can be: listens whose user or track has come, records that are good by now.

    Records are decoded by today's contract, and loaded by the statements of a publication, in
    its turn: content of a newer pull stays, and what is loaded already is not loaded again.

    Args:
        connection: A transaction of the warehouse; the caller commits it.
        lake: Tells what pulls have brought of the same listen records.
        present: Now, naive UTC: what is dated ahead, or today, still waits.
        first_day: The first partition.
    """
    take_turn(connection)
    run_id = f"quarantine-{uuid.uuid4().hex}"
    times = PullTimes(present, last_day_over(present), None, first_day)
    days: set[date] = set()
    for endpoint in ENDPOINTS:
        good = _decoded_again(connection, endpoint, times)
        table, typed = _STAGED[endpoint.name]
        records = _settled(lake, good) if endpoint is LISTENS else latest_of(endpoint, good)
        copy_to_staging(connection, table, run_id, typed(records))
        days.update(records["day"].to_list())
    loaded = load_staged(connection, run_id=run_id, days=sorted(days))
    connection.execute(
        "UPDATE quarantine SET last_tried = now() WHERE endpoint = 'listens' "
        "AND resolved_at IS NULL"
    )
    return Retried(
        dict(connection.execute(_RESOLVED_NOW).fetchall()),
        loaded.inserted,
        waiting_groups(connection),
    )


def resolve_mended(connection: psycopg.Connection, lake: LakeStore) -> int:
    """Resolve rejected records that a later pull has brought as good ones; how many.

    Told by the lake alone, so that it does not depend on the order in which days are loaded. A
    record that returns to the content it had before it broke brings nothing new: it goes on
    waiting, until it is too old to be kept.

    Args:
        connection: A transaction of the warehouse; the caller commits it.
        lake: Where the pulls are.
    """
    resolved = 0
    for endpoint in ENDPOINTS:
        rows = connection.execute(_KEYED, {"endpoint": endpoint.name}).fetchall()
        if not rows:
            continue
        waiting = pl.DataFrame(
            [(bytes(sha256), pull, *key.split(" ")) for sha256, pull, key in rows],
            schema={
                "sha256": pl.Binary,
                "pull": pl.String,
                **dict.fromkeys(endpoint.key, pl.String),
            },
            orient="row",
        ).with_columns(pl.col(endpoint.key).cast(pl.Int64))
        keys = waiting.cast({name: endpoint.schema[name] for name in endpoint.key})
        mended = brought_after(lake, endpoint, keys)["sha256"].to_list()
        resolved += connection.execute(
            _RESOLVE, {"endpoint": endpoint.name, "sha256": mended}
        ).rowcount
    return resolved


def forget(connection: psycopg.Connection, before: datetime) -> int:
    """Delete what was resolved, or last sent broken, before a moment in UTC; how many rows."""
    return connection.execute(_FORGET, {"before": before.replace(tzinfo=UTC)}).rowcount


def _decoded_again(
    connection: psycopg.Connection, endpoint: Endpoint, times: PullTimes
) -> pl.DataFrame:
    """The rejected records that today's contract accepts, marked as resolved, oldest pull first."""
    rows = connection.execute(_REJECTED, {"endpoint": endpoint.name}).fetchall()
    good: list[msgspec.Struct] = []
    origins: list[tuple[bytes, date, str]] = []
    for payload, sha256, day, pull in rows:
        records, rejected = decode_records(endpoint, [bytes(payload)])
        good.extend(records)
        origins.extend((bytes(sha256), day, pull) for _ in records)
        for one in rejected:
            connection.execute(
                _STILL_BROKEN,
                {
                    "endpoint": endpoint.name,
                    "payload": one.payload,
                    "field": one.field,
                    "reason": one.reason,
                },
            )
    schema = {"quarantined": pl.Binary, "dealt": pl.Date, "pull": pl.String}
    frame = pl.concat(
        [endpoint.frame(good), pl.DataFrame(origins, schema=schema, orient="row")],
        how="horizontal",
    )
    # Whether its time has come is told by the dealing rule; the day stays that of its pull.
    ripe = deal(frame, times).filter(pl.col("day").is_not_null())
    connection.execute(
        _RESOLVE, {"endpoint": endpoint.name, "sha256": ripe["quarantined"].to_list()}
    )
    return ripe.with_columns(day=pl.col("dealt")).drop("ahead", "quarantined", "dealt")


def _settled(lake: LakeStore, good: pl.DataFrame) -> pl.DataFrame:
    """Listens, one a record, settled as if the pulls that rejected them had brought them.

    Each adds to what the lake holds of its record, and to what an older pull of these has told.
    """
    keys = good.select(LISTENS.key).unique()
    latest = latest_of(LISTENS, known_contents(lake, LISTENS, kept_pulls(lake), keys))
    settled = read_contents(lake, LISTENS, latest)
    for (day, pull), told in good.partition_by(
        "day", "pull", as_dict=True, maintain_order=True
    ).items():
        contents = unite(told.drop("day", "pull").sort("updated_at", "sha256"))
        grown = settle(contents, settled).with_columns(day=pl.lit(day), pull=pl.lit(pull))
        settled = latest_of(LISTENS, pl.concat([settled, grown.select(settled.columns)]))
    return settled
