"""Whether a pull would withdraw so much that the source must have lost a part of its catalogue.

A source where most ids are gone is another world, and its pull is thrown away (`ingest/pull.py`).
Between that and the tracks that go every night there are outages: half an index, a shard that
does not answer. Such a pull is kept, but what it misses is not withdrawn until somebody says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moovitamix.warehouse import statements

if TYPE_CHECKING:
    import polars as pl
    import psycopg

# Tracks go and accounts are closed one by one, and after weeks without a load some per cent are
# gone; a tenth at once is likelier an outage than a decision.
MISSING_SHARE_ALLOWED = 0.1
# Of a small catalogue one album may be a tenth.
MISSING_ALWAYS_ALLOWED = 20


@dataclass(frozen=True)
class WholenessRule:
    """A rule for what the newest pull still holds.

    Args:
        name: Of the Dagster check.
        asset: The asset that it is a check of.
        table: The table whose rows would be withdrawn.
        why: What goes wrong when it is broken.
    """

    name: str
    asset: str
    table: str
    why: str

    def is_called(self, asset: str, name: str) -> bool:
        """Whether it is the rule of this name for this asset."""
        return (self.asset, self.name) == (asset, name)


WHOLENESS_RULES = (
    WholenessRule(
        "catalogue_whole",
        "raw_tracks",
        "tracks",
        "The newest pull misses many tracks at once: they would vanish from all lists.",
    ),
    WholenessRule(
        "accounts_whole",
        "raw_users",
        "users",
        "The newest pull misses many users at once: they would get no lists any more.",
    ),
)


@dataclass(frozen=True)
class Missing:
    """How much of a table a pull misses.

    Args:
        present: Rows that are not withdrawn.
        missing: Those of them that the pull did not see any more.
        content: Tells these rows from others: what is accepted when somebody accepts them.
    """

    present: int
    missing: int
    content: str

    @property
    def collapsed(self) -> bool:
        """Whether too many are missing to be believed."""
        return self.missing > max(MISSING_ALWAYS_ALLOWED, MISSING_SHARE_ALLOWED * self.present)


def compare(connection: psycopg.Connection, table: str, gone: pl.DataFrame) -> Missing:
    """What of a table a pull misses; leaves the ids that are gone in a table `gone_{table}`.

    Args:
        connection: A transaction of the warehouse, at whose end `gone_{table}` is dropped.
        table: `tracks` or `users`.
        gone: The pull's list, columns as `gone.GONE_SCHEMA`.
    """
    connection.execute(statements.GONE.format(table=table))
    with connection.cursor().copy(f"COPY gone_{table} (id, since) FROM STDIN") as copy:
        for row in gone.iter_rows():
            copy.write_row(row)
    found = connection.execute(statements.MISSING.format(table=table)).fetchone()
    return Missing(*found) if found else Missing(0, 0, "")
