"""What a staged slice must be like before it is believed: expectations, as data.

Each is one Great Expectations expectation and one blocking Dagster check. To add a rule, add a
line here: nothing else needs to know. How they are run is told by `judge.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Before the first recorded music, a date is a mistake.
EARLIEST = "1900-01-01"


@dataclass(frozen=True)
class Expectation:
    """A rule for the rows of a staging table.

    Args:
        name: Of the Dagster check.
        table: The staging table.
        kind: The class of `great_expectations.expectations`.
        arguments: What it is called with.
        why: What goes wrong when it is broken.
    """

    name: str
    table: str
    kind: str
    why: str
    arguments: dict[str, Any] = field(default_factory=dict)

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
    _sane_moment("staged_tracks", "created_at", "A release in another century is a wrong unit."),
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
    Expectation(
        "play_unique",
        "staged_listens",
        "ExpectCompoundColumnsToBeUnique",
        "The same play twice in a slice would be counted twice in every figure.",
        {"column_list": ["user_id", "recorded_at", "track_id", "nth"]},
    ),
    _not_null("staged_listens", "user_id", "A listen of nobody teaches nothing."),
    _not_null("staged_listens", "track_id", "A listen of nothing teaches nothing."),
    _sane_moment("staged_listens", "listened_at", "A listen in another century is a wrong unit."),
)


def expectations_of(table: str) -> list[Expectation]:
    """The expectations of a staging table, in their order."""
    return [rule for rule in STAGED_EXPECTATIONS if rule.table == table]
