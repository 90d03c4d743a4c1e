"""Great Expectations run on staged slices: which days pass, and which rule the others broke.

A range of days is judged at once; where that finds anything, it is halved until the days
concerned stand alone. The rules themselves are in `expectations.py`.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from string import Template
from types import ModuleType
from typing import Any

import psycopg
from psycopg import sql

from moovitamix.warehouse.acceptance import note_blocked
from moovitamix.warehouse.expectations import BY_DAY, Expectation


@dataclass(frozen=True)
class RuleResult:
    """How a rule fared on some rows. Counts only: an unexpected value may be personal.

    Args:
        passed: Whether the rule holds.
        rows: How many were looked at.
        unexpected: How many of them break the rule; of a rule by day, how many days do.
        error: Why the rule could not be run at all.
    """

    passed: bool
    rows: int
    unexpected: int
    error: str | None = None


# By rule name, for one span of days.
Results = Mapping[str, RuleResult]
Validator = Callable[[date, date], Results]


@dataclass(frozen=True)
class Verdicts:
    """What the judging of a slice came to.

    Args:
        whole: How each rule fared on all days together.
        failed: By day, the rules it broke; empty for a good day.
    """

    whole: Results
    failed: dict[date, list[str]]

    @property
    def good(self) -> list[date]:
        """The days that broke no rule."""
        return [day for day, broken in self.failed.items() if not broken]


def judge_days(validate: Validator, days: Sequence[date]) -> Verdicts:
    """Judge each day on its own, by as few validations as possible.

    Args:
        validate: Runs all rules on the rows of the days from the first to the last argument.
        days: Contiguous, oldest first, at least one.
    """
    whole = validate(days[0], days[-1])
    return Verdicts(whole, _judge(validate, days, whole))


def _judge(validate: Validator, days: Sequence[date], results: Results) -> dict[date, list[str]]:
    broken = [name for name, result in results.items() if not result.passed]
    # What a range forgives may all lie on one day, which must not pass for its neighbours' sake.
    spotless = not broken and not any(result.unexpected for result in results.values())
    if spotless or len(days) == 1:
        return dict.fromkeys(days, broken)
    middle = len(days) // 2
    halves = (days[:middle], days[middle:])
    verdicts: dict[date, list[str]] = {}
    for half in halves:
        verdicts |= _judge(validate, half, validate(half[0], half[-1]))
    return verdicts


def great_expectations() -> ModuleType:
    """Great Expectations, imported at the first call: that takes seconds.

    Its usage reports are switched off unless the environment says otherwise.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations

    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    return great_expectations


def gx_validator(
    address: str, schema: str, table: str, run_id: str, rules: Sequence[Expectation]
) -> Validator:
    """A validator that runs the rules by Great Expectations, on Postgres.

    Args:
        address: The libpq URL.
        schema: The namespace; the staging area is the one with `_staging` behind it.
        table: The staging table.
        run_id: Whose rows count. Rows without a day, brought along by listens, do not.
        rules: The table's expectations.
    """
    gx = great_expectations()
    from great_expectations.data_context.types.base import (
        ProgressBarsConfig,
    )
    from sqlalchemy import NullPool

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    driver = address.replace("postgresql://", "postgresql+psycopg://", 1).replace(
        "postgres://", "postgresql+psycopg://", 1
    )
    with warnings.catch_warnings():
        # It recommends `add_postgres`, which refuses the URL of a Unix socket.
        warnings.simplefilter("ignore")
        # Without a pool no connection is left open when the validator is dropped.
        source = context.data_sources.add_sql(
            name=table,
            connection_string=driver,
            kwargs={
                "poolclass": NullPool,
                "connect_args": {"options": f'-c search_path="{schema}","{schema}_staging"'},
            },
        )

    def validate(first: date, last: date) -> dict[str, RuleResult]:
        name = f"{table}_{first}_{last}"
        literals = {"run_id": _literal(run_id), "first": _literal(first), "last": _literal(last)}
        suite = gx.ExpectationSuite(name=name)
        for rule in rules:
            kind = getattr(gx.expectations, rule.kind)
            arguments = {
                argument: Template(value).substitute(literals) if rule.kind == BY_DAY else value
                for argument, value in rule.arguments.items()
            }
            suite.add_expectation(kind(**arguments, meta={"name": rule.name}))
        query = Template(
            f"SELECT * FROM {table} WHERE run_id = $run_id "  # noqa: S608 - our own table
            "AND day BETWEEN $first AND $last"
        ).substitute(literals)
        asset = source.add_query_asset(name=name, query=query)
        batch = asset.add_batch_definition_whole_table(name).get_batch()
        found = batch.validate(suite, result_format="BASIC")
        results = dict(map(_named_result, found.results))
        # A query does not say how many rows it looked at: the same as the others.
        rows = max((result.rows for result in results.values()), default=0)
        return {name: replace(result, rows=rows) for name, result in results.items()}

    return validate


def _literal(value: str | date) -> str:
    return sql.Literal(value).as_string()


def _named_result(found: Any) -> tuple[str, RuleResult]:
    """The rule's name, which GX carries in `meta` because it answers in an order of its own."""
    result = found.result or {}
    # A rule that could not be run at all (a missing column) has its cause elsewhere.
    error = None if result else _cause(found.exception_info)
    return found.expectation_config.meta["name"], RuleResult(
        bool(found.success),
        int(result.get("element_count") or 0),
        # Of rules by day, the days that the query gave.
        int(result.get("unexpected_count", result.get("observed_value")) or 0),
        error,
    )


def _cause(exception_info: Mapping[str, Any]) -> str:
    """Why a rule could not be run: GX tells it for each metric, or for all at once."""
    told = [exception_info, *(one for one in exception_info.values() if isinstance(one, dict))]
    messages = dict.fromkeys(str(one.get("exception_message") or "") for one in told)
    return "; ".join(filter(None, messages))[:500] or "Great Expectations does not say why"


# A day that was staged and not judged yet must not be taken for a good one.
NOT_JUDGED = "not judged"

_VERDICTS = """
INSERT INTO verdicts (run_id, endpoint, day, failed) VALUES (%s, %s, %s, %s)
ON CONFLICT (run_id, endpoint, day) DO UPDATE
SET failed = excluded.failed, judged_at = now()
"""


def expect_verdicts(
    connection: psycopg.Connection, *, run_id: str, endpoint: str, days: Sequence[date]
) -> None:
    """Note that these days are staged for an endpoint, and wait for their verdicts."""
    connection.execute("DELETE FROM verdicts WHERE judged_at < now() - interval '7 days'")
    connection.cursor().executemany(
        _VERDICTS, [(run_id, endpoint, day, [NOT_JUDGED]) for day in days]
    )


def awaiting_days(connection: psycopg.Connection, *, run_id: str, endpoint: str) -> list[date]:
    """The days that a run has staged for an endpoint, oldest first."""
    rows = connection.execute(
        "SELECT day FROM verdicts WHERE run_id = %s AND endpoint = %s ORDER BY day",
        (run_id, endpoint),
    )
    return [day for (day,) in rows.fetchall()]


def record_verdicts(
    connection: psycopg.Connection, *, run_id: str, endpoint: str, pull: str, verdicts: Verdicts
) -> Verdicts:
    """Write the verdicts down for the publication, and the bad days into `blocked_days`.

    Returns:
        The verdicts without the rules that were accepted by name for this very content.
    """
    held_back = note_blocked(
        connection, run_id=run_id, endpoint=endpoint, pull=pull, failed=verdicts.failed
    )
    connection.cursor().executemany(
        _VERDICTS, [(run_id, endpoint, day, broken) for day, broken in held_back.items()]
    )
    return Verdicts(verdicts.whole, held_back)


def blocked_on(connection: psycopg.Connection, pull: str, days: Sequence[date]) -> bool:
    """Whether one of these days stands blocked by what this pull brought, or the pull itself."""
    found = connection.execute(
        "SELECT 1 FROM blocked_days WHERE pull = %s AND accepted_at IS NULL "
        "AND (day = ANY(%s) OR starts_with(endpoint, 'raw_')) LIMIT 1",
        (pull, list(days)),
    ).fetchone()
    return found is not None
