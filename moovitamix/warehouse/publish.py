"""Staged rows that were judged good, upserted into the six tables in one transaction.

The SQL itself, and what it promises, is in `statements.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date

import polars as pl
import psycopg

from moovitamix.errors import MoovitaMixError, NothingToDo
from moovitamix.ingest.contract import BY_NAME, ENDPOINTS
from moovitamix.ingest.whose import key_text
from moovitamix.warehouse import statements
from moovitamix.warehouse.acceptance import may_withdraw
from moovitamix.warehouse.collapse import compare
from moovitamix.warehouse.tables import PUBLISHED

# Publications of one database take turns; a reader is never kept waiting.
_PUBLICATION_LOCK = 0x6D76_785F_7075_62


# After so many new rows the planner would take a table for what it was before: often empty.
_MANY_ROWS = 5_000


@dataclass(frozen=True)
class Loaded:
    """What came of staged rows; counts as in `Outcome`."""

    inserted: Mapping[str, int]
    updated: Mapping[str, int]
    staged_listens: int
    known_listens: int
    quarantined_listens: int
    replayed_listens: int
    overlong_genres: int


@dataclass(frozen=True)
class Outcome:
    """What a publication did.

    Args:
        published: The days that are in the tables now.
        withheld: The days that were asked for and are not, for a check blocked them.
        accepted: The published days that broke a rule, which was accepted by name.
        rows: By table, all rows it holds afterwards.
        inserted: By table, rows that are new.
        updated: By table, rows whose content a newer pull replaced.
        staged_listens: Listens of the published days, as staged.
        known_listens: Those of them that were there already, or are staged twice: told and pulled.
        quarantined_listens: Those of them whose user or track is nowhere to be found.
        replayed_listens: Listens that had waited in quarantine and could now be loaded.
        overlong_genres: Names of genres that tracks or users state and that no index can hold; they
            are left out.
        rejected: Records in quarantine, or again, because they break the contract.
        withdrawals: By table, rows that are withdrawn since the newest pull, or are back.
        spared: By table, rows that the newest pull misses, and that are not withdrawn because
            they are too many to be believed.
    """

    published: list[date]
    withheld: list[date]
    accepted: list[date]
    rows: Mapping[str, int]
    inserted: Mapping[str, int]
    updated: Mapping[str, int]
    staged_listens: int
    known_listens: int
    quarantined_listens: int
    replayed_listens: int
    overlong_genres: int
    rejected: int
    withdrawals: Mapping[str, int]
    spared: Mapping[str, int]

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
            "accepted": [str(day) for day in self.accepted],
        }


def publish(
    connection: psycopg.Connection,
    *,
    run_id: str,
    pull: str,
    days: Sequence[date],
    rejected: Mapping[str, pl.DataFrame],
    gone: Mapping[str, pl.DataFrame],
) -> Outcome:
    """Publish the days of a run that were judged good, all six tables as one.

    Args:
        connection: A transaction of the warehouse; the caller commits it.
        run_id: Whose staged rows and verdicts count.
        pull: The newest pull, for the record of published days.
        days: What the run is about.
        rejected: By endpoint, what broke the contract and was dealt to these days
            (`pulls.rejected_on`).
        gone: By endpoint, the ids that the newest pull did not see any more
            (`pulls.gone_keys`).

    Raises:
        NothingToDo: When this run has staged and judged none of these days.
        MoovitaMixError: When the counts do not add up; then nothing is published.
    """
    take_turn(connection)
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
    # Sorting and hashing a run's listens in memory is worth it; the setting ends with it.
    connection.execute("SET LOCAL work_mem = '64MB'")
    good = [day for (day,) in connection.execute(statements.GOOD_DAYS, values).fetchall()]
    values["good"] = good
    values["listens"] = [
        count for _, count in connection.execute(statements.DAY_LISTENS, values).fetchall()
    ]

    # Before the load: what is loaded after it has gone is withdrawn at once, and is no collapse.
    missing = {table: compare(connection, table, frame) for table, frame in gone.items()}
    spared = {
        table: 0 if may_withdraw(connection, table, found) else found.missing
        for table, found in missing.items()
    }
    loaded = load_staged(connection, run_id=run_id, days=good)
    withdrawn = {
        table: _withdraw(connection, table, pull) if good and not spared[table] else 0
        for table in gone
    }
    connection.execute(statements.PUBLISHED, values)
    connection.execute(statements.UNBLOCKED, values)
    connection.execute("DELETE FROM verdicts WHERE run_id = %s", (run_id,))
    outcome = Outcome(
        published=good,
        withheld=sorted(set(days) - set(good)),
        accepted=[day for (day,) in connection.execute(statements.ACCEPTED, values).fetchall()],
        rows=row_counts(connection),
        inserted=loaded.inserted,
        updated=loaded.updated,
        staged_listens=loaded.staged_listens,
        known_listens=loaded.known_listens,
        quarantined_listens=loaded.quarantined_listens,
        replayed_listens=loaded.replayed_listens,
        overlong_genres=loaded.overlong_genres,
        rejected=_quarantine_rejected(connection, rejected),
        withdrawals=withdrawn,
        spared=spared,
    )
    if not outcome.reconciles():
        raise MoovitaMixError(
            f"The counts do not add up: {outcome.counts()}. Nothing was published; this is a bug: "
            "please report it with these counts."
        )
    return outcome


def take_turn(connection: psycopg.Connection) -> None:
    """Wait until nobody else writes to the six tables; hold them until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_PUBLICATION_LOCK,))


def load_staged(connection: psycopg.Connection, *, run_id: str, days: Sequence[date]) -> Loaded:
    """Upsert a run's staged rows of some days into the six tables; remove all that it staged.

    Args:
        connection: A transaction that has its turn (`take_turn`).
        run_id: Whose rows.
        days: Those that may be believed.
    """
    values = {"run_id": run_id, "good": list(days)}
    connection.execute(statements.BELIEVED_TRACKS, values)
    connection.execute(statements.BELIEVED_USERS, values)
    overlong = _count(connection, statements.OVERLONG_GENRES, {})
    new_genres = set(connection.execute(statements.GENRES).fetchall())
    inserted = {"genres": 0}
    updated = {}
    for table, statement in (("tracks", statements.TRACKS), ("users", statements.USERS)):
        new_rows = [row[0] for row in connection.execute(statement).fetchall()]
        inserted[table], updated[table] = sum(new_rows), len(new_rows) - sum(new_rows)
        if inserted[table] >= _MANY_ROWS:
            connection.execute(f"ANALYZE {table}")
    for names in (statements.TRACK_LINKS, statements.USER_LINKS):
        connection.execute(statements.LINKS.format(**names))
        connection.execute(statements.UNLINK.format(**names))
        inserted[names["table"]] = connection.execute(statements.LINK.format(**names)).rowcount
    inserted["genres"] = len(
        new_genres - set(connection.execute(statements.UNNAMED_GENRES).fetchall())
    )

    staged = _count(connection, statements.STAGED_LISTENS, values)
    known = connection.execute(statements.TOLD_TWINS, values).rowcount
    known += _count(connection, statements.KNOWN_LISTENS, values)
    new = connection.execute(statements.LISTENS, values).rowcount
    quarantined = connection.execute(statements.UNRESOLVED_LISTENS, values).rowcount
    replayed = _count(connection, statements.REPLAY, values)
    inserted["listen_history"] = new + replayed
    for table in ("staged_tracks", "staged_users", "staged_listens"):
        connection.execute(f"DELETE FROM {table} WHERE run_id = %s", (run_id,))  # noqa: S608
    return Loaded(inserted, updated, staged, known, quarantined, replayed, overlong)


def _withdraw(connection: psycopg.Connection, table: str, pull: str) -> int:
    """Mark the rows whose ids are gone, and no others; how many that changed."""
    statement = statements.WITHDRAW.format(table=table)
    return connection.execute(statement, {"pull": pull}).rowcount


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
        {"endpoint": name, "key": key_text(BY_NAME[name], row["payload"]), **row}
        for name, frame in rejected.items()
        for row in frame.iter_rows(named=True)
    ]
    if rows:
        connection.cursor().executemany(statements.REJECTED, rows)
    return len(rows)
