"""Staged rows that were judged good, upserted into the six tables in one transaction.

All SQL of the publication stands here, in the order in which it runs. Every statement is
set-based and may run again: what is there already stays as it is, and content of an older pull
never overwrites that of a newer one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date

import polars as pl
import psycopg

from moovitamix.errors import MoovitaMixError, NothingToDo
from moovitamix.ingest.contract import ENDPOINTS
from moovitamix.warehouse.tables import PUBLISHED

# Publications of one database take turns; a reader is never kept waiting.
_PUBLICATION_LOCK = 0x6D76_785F_7075_62

_GOOD_DAYS = """
SELECT day FROM verdicts
WHERE run_id = %(run_id)s AND day = ANY(%(days)s)
GROUP BY day
HAVING count(*) = %(endpoints)s AND bool_and(cardinality(failed) = 0)
ORDER BY day
"""

# The rows of this run that may be published: dealt to a good day, or named by a listen of one.
_BELIEVED = """
CREATE TEMPORARY TABLE {believed} ON COMMIT DROP AS
SELECT DISTINCT ON (s.id) s.*
FROM {staged} s
WHERE s.run_id = %(run_id)s
  AND (s.day = ANY(%(good)s)
       OR s.day IS NULL AND EXISTS (
            SELECT FROM staged_listens l
            WHERE l.run_id = s.run_id AND l.day = ANY(%(good)s) AND l.{reference} = s.id))
ORDER BY s.id, s.pull DESC
"""

_BELIEVED_TRACKS = _BELIEVED.format(
    believed="believed_tracks", staged="staged_tracks", reference="track_id"
)
_BELIEVED_USERS = _BELIEVED.format(
    believed="believed_users", staged="staged_users", reference="user_id"
)

# Staged genre lists are folded and joined by commas: see `stage.folded_genres`.
_GENRES = """
INSERT INTO genres (name)
SELECT DISTINCT part
FROM (SELECT genres AS listed FROM believed_tracks
      UNION ALL SELECT favorite_genres FROM believed_users) AS stated,
     string_to_table(listed, ',') AS part
WHERE part <> '' AND NOT EXISTS (SELECT FROM genres g WHERE g.name = part)
ORDER BY part
ON CONFLICT (name) DO NOTHING
"""

_TRACKS = """
INSERT INTO tracks AS t
       (id, name, artist, songwriters, duration, album, created_at, updated_at, pull)
SELECT id, name, artist, songwriters, make_interval(secs => duration_seconds), album,
       created_at, updated_at, pull
FROM believed_tracks
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, artist = excluded.artist, songwriters = excluded.songwriters,
    duration = excluded.duration, album = excluded.album, created_at = excluded.created_at,
    updated_at = excluded.updated_at, pull = excluded.pull
WHERE t.pull < excluded.pull
RETURNING (xmax = 0) AS inserted
"""

_USERS = """
INSERT INTO users AS u
       (id, first_name, last_name, email, gender, created_at, updated_at, pull)
SELECT id, first_name, last_name, email, gender, created_at, updated_at, pull
FROM believed_users
ON CONFLICT (id) DO UPDATE
SET first_name = excluded.first_name, last_name = excluded.last_name, email = excluded.email,
    gender = excluded.gender, created_at = excluded.created_at,
    updated_at = excluded.updated_at, pull = excluded.pull
WHERE u.pull < excluded.pull
RETURNING (xmax = 0) AS inserted
"""

# The genres of those rows whose content is now the table's, in two steps: take, then give.
_LINKS = """
CREATE TEMPORARY TABLE {links} ON COMMIT DROP AS
SELECT DISTINCT b.id AS {owner_id}, g.id AS genre_id
FROM {believed} b
JOIN {owner} o ON o.id = b.id AND o.pull = b.pull,
     string_to_table(b.{listed}, ',') AS part
JOIN genres g ON g.name = part
"""

_UNLINK = """
DELETE FROM {table} x
USING {believed} b JOIN {owner} o ON o.id = b.id AND o.pull = b.pull
WHERE x.{owner_id} = b.id
  AND NOT EXISTS (SELECT FROM {links} l
                  WHERE l.{owner_id} = x.{owner_id} AND l.genre_id = x.genre_id)
"""

_LINK = """
INSERT INTO {table} ({owner_id}, genre_id)
SELECT {owner_id}, genre_id FROM {links}
ON CONFLICT DO NOTHING
"""

_TRACK_LINKS = {
    "table": "track_genres",
    "links": "track_links",
    "owner": "tracks",
    "owner_id": "track_id",
    "believed": "believed_tracks",
    "listed": "genres",
}
_USER_LINKS = {
    "table": "user_favorite_genres",
    "links": "user_links",
    "owner": "users",
    "owner_id": "user_id",
    "believed": "believed_users",
    "listed": "favorite_genres",
}

_KNOWN_LISTENS = """
SELECT count(*)
FROM staged_listens l
JOIN listen_history h
  ON h.user_id = l.user_id AND h.recorded_at = l.recorded_at
 AND h.track_id = l.track_id AND h.nth = l.nth
WHERE l.run_id = %(run_id)s AND l.day = ANY(%(good)s)
"""

_LISTENS = """
INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth)
SELECT l.user_id, l.track_id, l.listened_at, l.recorded_at, l.nth
FROM staged_listens l
WHERE l.run_id = %(run_id)s AND l.day = ANY(%(good)s)
  AND EXISTS (SELECT FROM users u WHERE u.id = l.user_id)
  AND EXISTS (SELECT FROM tracks t WHERE t.id = l.track_id)
ORDER BY l.listened_at, l.user_id, l.track_id, l.nth
ON CONFLICT ON CONSTRAINT uq_listen_history_natural DO NOTHING
"""

_UNRESOLVED_LISTENS = """
INSERT INTO quarantine AS q (endpoint, sha256, payload, day, pull, reason, field)
SELECT 'listens', sha256(payload), payload, day, pull,
       CASE WHEN field = 'user_id' THEN 'Unknown user' ELSE 'Unknown track' END, field
FROM (SELECT l.day, l.pull,
             CASE WHEN u.id IS NULL THEN 'user_id' ELSE 'track_id' END AS field,
             convert_to(json_build_object(
                 'user_id', l.user_id, 'track_id', l.track_id, 'listened_at', l.listened_at,
                 'recorded_at', l.recorded_at, 'nth', l.nth)::text, 'UTF8') AS payload
      FROM staged_listens l
      LEFT JOIN users u ON u.id = l.user_id
      LEFT JOIN tracks t ON t.id = l.track_id
      WHERE l.run_id = %(run_id)s AND l.day = ANY(%(good)s)
        AND (u.id IS NULL OR t.id IS NULL)) AS unresolved
ON CONFLICT (endpoint, sha256) DO UPDATE
SET last_tried = now(), resolved_at = NULL, reason = excluded.reason, field = excluded.field
"""

# Listens whose user or track has arrived since; by natural key, so that a replay loads once.
_REPLAY = """
WITH waiting AS (
    SELECT sha256, (convert_from(payload, 'UTF8'))::json AS listen
    FROM quarantine WHERE endpoint = 'listens' AND resolved_at IS NULL
), arrived AS (
    SELECT w.sha256, u.id AS user_id, t.id AS track_id,
           (w.listen ->> 'listened_at')::timestamp AS listened_at,
           (w.listen ->> 'recorded_at')::timestamp AS recorded_at,
           (w.listen ->> 'nth')::smallint AS nth
    FROM waiting w
    JOIN users u ON u.id = (w.listen ->> 'user_id')::bigint
    JOIN tracks t ON t.id = (w.listen ->> 'track_id')::bigint
), loaded AS (
    INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth)
    SELECT user_id, track_id, listened_at, recorded_at, nth FROM arrived
    ON CONFLICT ON CONSTRAINT uq_listen_history_natural DO NOTHING
    RETURNING 1
), resolved AS (
    UPDATE quarantine q SET resolved_at = now(), last_tried = now()
    FROM arrived a WHERE q.endpoint = 'listens' AND q.sha256 = a.sha256
)
SELECT count(*) FROM loaded
"""

_REJECTED = """
INSERT INTO quarantine AS q (endpoint, sha256, payload, day, pull, reason, field)
VALUES (%(endpoint)s, %(sha256)s, %(payload)s, %(day)s, %(pull)s, %(reason)s, %(field)s)
ON CONFLICT (endpoint, sha256) DO UPDATE SET last_tried = now()
"""

_PUBLISHED = """
INSERT INTO published_days (day, pull, run_id)
SELECT unnest(%(good)s::date[]), %(pull)s, %(run_id)s
ON CONFLICT (day) DO UPDATE
SET pull = excluded.pull, run_id = excluded.run_id, published_at = now()
"""

_UNBLOCKED = "DELETE FROM blocked_days WHERE day = ANY(%(good)s)"

_STAGED_LISTENS = """
SELECT count(*) FROM staged_listens WHERE run_id = %(run_id)s AND day = ANY(%(good)s)
"""


@dataclass(frozen=True)
class Outcome:
    """What a publication did.

    Args:
        published: The days that are in the tables now.
        withheld: The days that were asked for and are not, for a check blocked them.
        rows: By table, all rows it holds afterwards.
        inserted: By table, rows that are new.
        updated: By table, rows whose content a newer pull replaced.
        staged_listens: Listens of the published days, as staged.
        known_listens: Those of them that were there already.
        quarantined_listens: Those of them whose user or track is nowhere to be found.
        replayed_listens: Listens that had waited in quarantine and could now be loaded.
        rejected: Records in quarantine, or again, because they break the contract.
    """

    published: list[date]
    withheld: list[date]
    rows: Mapping[str, int]
    inserted: Mapping[str, int]
    updated: Mapping[str, int]
    staged_listens: int
    known_listens: int
    quarantined_listens: int
    replayed_listens: int
    rejected: int

    def reconciles(self) -> bool:
        """Listens in = loaded + already known + quarantined."""
        loaded = self.inserted["listen_history"] - self.replayed_listens
        return self.staged_listens == loaded + self.known_listens + self.quarantined_listens

    def counts(self) -> dict[str, object]:
        """All counts as a plain dictionary, days as a number each."""
        return {
            **asdict(self),
            "published": len(self.published),
            "withheld": [str(day) for day in self.withheld],
        }


def publish(
    connection: psycopg.Connection,
    *,
    run_id: str,
    pull: str,
    days: Sequence[date],
    rejected: Mapping[str, pl.DataFrame],
) -> Outcome:
    """Publish the days of a run that were judged good, all six tables as one.

    Args:
        connection: A transaction of the warehouse; the caller commits it.
        run_id: Whose staged rows and verdicts count.
        pull: The newest pull, for the record of published days.
        days: What the run is about.
        rejected: By endpoint, what broke the contract and was dealt to these days
            (`pulls.rejected_on`).

    Raises:
        NothingToDo: When this run has staged and judged none of these days.
        MoovitaMixError: When the counts do not add up; then nothing is published.
    """
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_PUBLICATION_LOCK,))
    values: dict[str, object] = {
        "run_id": run_id,
        "pull": pull,
        "days": list(days),
        "endpoints": len(ENDPOINTS),
    }
    judged = connection.execute(
        "SELECT 1 FROM verdicts WHERE run_id = %(run_id)s LIMIT 1", values
    ).fetchone()
    if judged is None:
        raise NothingToDo(
            "This run has staged and judged nothing: materialize the tables together with "
            "`staged_tracks`, `staged_users`, `staged_listens` and their checks (job `ingest_day`)."
        )
    good = [day for (day,) in connection.execute(_GOOD_DAYS, values).fetchall()]
    values["good"] = good

    connection.execute(_BELIEVED_TRACKS, values)
    connection.execute(_BELIEVED_USERS, values)
    inserted = {"genres": connection.execute(_GENRES).rowcount}
    updated = {}
    for table, statement in (("tracks", _TRACKS), ("users", _USERS)):
        new = [row[0] for row in connection.execute(statement).fetchall()]
        inserted[table], updated[table] = sum(new), len(new) - sum(new)
    for names in (_TRACK_LINKS, _USER_LINKS):
        connection.execute(_LINKS.format(**names))
        connection.execute(_UNLINK.format(**names))
        inserted[names["table"]] = connection.execute(_LINK.format(**names)).rowcount

    staged = _count(connection, _STAGED_LISTENS, values)
    known = _count(connection, _KNOWN_LISTENS, values)
    loaded = connection.execute(_LISTENS, values).rowcount
    quarantined = connection.execute(_UNRESOLVED_LISTENS, values).rowcount
    replayed = _count(connection, _REPLAY, values)
    inserted["listen_history"] = loaded + replayed

    connection.execute(_PUBLISHED, values)
    connection.execute(_UNBLOCKED, values)
    for table in ("staged_tracks", "staged_users", "staged_listens", "verdicts"):
        connection.execute(f"DELETE FROM {table} WHERE run_id = %s", (run_id,))  # noqa: S608
    outcome = Outcome(
        published=good,
        withheld=sorted(set(days) - set(good)),
        rows=row_counts(connection),
        inserted=inserted,
        updated=updated,
        staged_listens=staged,
        known_listens=known,
        quarantined_listens=quarantined,
        replayed_listens=replayed,
        rejected=_quarantine_rejected(connection, rejected),
    )
    if not outcome.reconciles():
        raise MoovitaMixError(
            f"The counts do not add up: {outcome.counts()}. Nothing was published; this is a bug: "
            "please report it with these counts."
        )
    return outcome


def row_counts(connection: psycopg.Connection) -> dict[str, int]:
    """How many rows each of the six tables holds, in the order of `tables.PUBLISHED`."""
    return {
        table.name: _count(connection, f"SELECT count(*) FROM {table.name}", {})  # noqa: S608
        for table in PUBLISHED
    }


def _count(connection: psycopg.Connection, query: str, values: Mapping[str, object]) -> int:
    row = connection.execute(query, values).fetchone()
    return int(row[0]) if row else 0


def _quarantine_rejected(
    connection: psycopg.Connection, rejected: Mapping[str, pl.DataFrame]
) -> int:
    rows = [
        {"endpoint": endpoint, **row}
        for endpoint, frame in rejected.items()
        for row in frame.iter_rows(named=True)
    ]
    if rows:
        connection.cursor().executemany(_REJECTED, rows)
    return len(rows)
