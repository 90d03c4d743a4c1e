"""What a staged slice must be like before it is believed: expectations, as data.

Each is one Great Expectations expectation and one blocking Dagster check. To add a rule, add a
line here: nothing else needs to know. How they are run is told by `judge.py`, the rules that
are queries are in `expectation_queries.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from moovitamix.warehouse import expectation_queries as queries

# Before the first recorded music, a date is a mistake.
EARLIEST = "1900-01-01"

_STAMPS = ("created_at", "updated_at")

# A query that gives each day that breaks the rule, as one row.
BY_DAY = "UnexpectedRowsExpectation"


@dataclass(frozen=True)
class Expectation:
    """A rule for the rows of a staging table.

    Args:
        name: Of the Dagster check.
        table: The staging table.
        kind: The class of `great_expectations.expectations`.
        why: What goes wrong when it is broken.
        arguments: What it is called with.
        needs: Other staging tables that it looks at, which are staged and judged before.
    """

    name: str
    table: str
    kind: str
    why: str
    arguments: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def is_called(self, table: str, name: str) -> bool:
        """Whether it is the rule of this name for this table."""
        return (self.table, self.name) == (table, name)


def _not_null(table: str, column: str, why: str) -> Expectation:
    return Expectation(
        f"{column}_present", table, "ExpectColumnValuesToNotBeNull", why, {"column": column}
    )


def _sane_moment(table: str, column: str, why: str) -> Expectation:
    return Expectation(
        f"{column}_sane",
        table,
        "ExpectColumnValuesToBeBetween",
        why,
        {"column": column, "min_value": EARLIEST, "max_value": "2100-01-01"},
    )


def _by_day(
    name: str, table: str, why: str, query: str, needs: tuple[str, ...] = ()
) -> Expectation:
    return Expectation(name, table, BY_DAY, why, {"unexpected_rows_query": query}, needs)


def _complete(table: str, *columns: str) -> Expectation:
    """No null where the tables allow none, in the columns that have no rule of their own."""
    return _by_day(
        "row_complete",
        table,
        "A null that the tables do not allow would fail the publication of all days.",
        queries.days_with_null(columns),
    )


STAGED_EXPECTATIONS: tuple[Expectation, ...] = (
    Expectation(
        "id_unique",
        "staged_tracks",
        "ExpectColumnValuesToBeUnique",
        "Two contents of one track in a slice: which one is right cannot be told.",
        {"column": "id"},
    ),
    _not_null("staged_tracks", "id", "A track without an id cannot be heard or recommended."),
    Expectation(
        "name_present",
        "staged_tracks",
        "ExpectColumnValueLengthsToBeBetween",
        "A track without a name cannot be shown.",
        {"column": "name", "min_value": 1, "mostly": 0.99},
    ),
    Expectation(
        "duration_sane",
        "staged_tracks",
        "ExpectColumnValuesToBeBetween",
        "Durations that are mostly zero or longer than a day are read in the wrong unit.",
        {"column": "duration_seconds", "min_value": 1, "max_value": 86_400, "mostly": 0.99},
    ),
    _not_null("staged_tracks", "duration_seconds", "A duration that did not parse is no number."),
    _sane_moment("staged_tracks", "created_at", "A release in another century is a wrong unit."),
    _sane_moment("staged_tracks", "updated_at", "An edit in another century is a wrong unit."),
    _complete("staged_tracks", "name", "artist", "songwriters", "album", *_STAMPS),
    Expectation(
        "id_unique",
        "staged_users",
        "ExpectColumnValuesToBeUnique",
        "Two contents of one user in a slice: which one is right cannot be told.",
        {"column": "id"},
    ),
    _not_null("staged_users", "id", "A user without an id cannot be recommended anything."),
    Expectation(
        "email_like",
        "staged_users",
        "ExpectColumnValuesToMatchRegex",
        "E-mails that look like none mean that the columns have shifted.",
        {"column": "email", "regex": r"^[^@\s]+@[^@\s]+\.[^@\s]+$", "mostly": 0.95},
    ),
    _sane_moment("staged_users", "created_at", "An account in another century is a wrong unit."),
    _sane_moment("staged_users", "updated_at", "An edit in another century is a wrong unit."),
    _complete("staged_users", "first_name", "last_name", "email", "gender", *_STAMPS),
    Expectation(
        "play_unique",
        "staged_listens",
        "ExpectCompoundColumnsToBeUnique",
        "The same play twice in a slice would be counted twice in every figure.",
        # Told on one day and pulled with another, it is in a range twice: `publish.py` folds it.
        {"column_list": ["user_id", "recorded_at", "track_id", "nth", "told"]},
    ),
    _not_null("staged_listens", "user_id", "A listen of nobody teaches nothing."),
    _not_null("staged_listens", "track_id", "A listen of nothing teaches nothing."),
    _sane_moment("staged_listens", "listened_at", "A listen in another century is a wrong unit."),
    _sane_moment("staged_listens", "recorded_at", "A record of another century is a wrong unit."),
    _complete("staged_listens", "listened_at", "recorded_at", "nth"),
    _by_day(
        "references_resolvable",
        "staged_listens",
        "Listens that mostly name unknown users or tracks come from another world than these.",
        queries.DANGLING_DAYS,
        needs=("staged_tracks", "staged_users"),
    ),
    _by_day(
        "volume_usual",
        "staged_listens",
        "A day with far fewer or more listens than this weekday ever has is half a day, or two.",
        queries.UNUSUAL_DAYS,
    ),
)


def expectations_of(table: str) -> list[Expectation]:
    """The expectations of a staging table, in their order."""
    return [rule for rule in STAGED_EXPECTATIONS if rule.table == table]
