"""Every expectation, run by Great Expectations on Postgres, is failed by its fault and no other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import LiteralString

import pytest

from moovitamix.resources import Warehouse
from moovitamix.warehouse.expectations import STAGED_EXPECTATIONS, Expectation, expectations_of
from moovitamix.warehouse.judge import Validator, gx_validator, judge_days
from moovitamix_tests.conftest import drop_schemas

RUN = "run"
ROWS_A_DAY = 40
FIRST = date(2026, 11, 1)
TABLES = tuple(dict.fromkeys(rule.table for rule in STAGED_EXPECTATIONS))

# Sound rows of a day, whose number makes the ids of each day its own.
SOUND: dict[str, LiteralString] = {
    "staged_tracks": """
        INSERT INTO staged_tracks (run_id, day, pull, id, name, artist, songwriters,
                                   duration_seconds, genres, album, created_at, updated_at)
        SELECT %(run)s, %(day)s, 'p', %(number)s * 1000 + n, 'Track ' || n, 'Artist', 'Writer',
               200 + n, 'jazz', 'Album', %(day)s, %(day)s FROM generate_series(1, %(rows)s) AS n""",
    "staged_users": """
        INSERT INTO staged_users (run_id, day, pull, id, first_name, last_name, email, gender,
                                  favorite_genres, created_at, updated_at)
        SELECT %(run)s, %(day)s, 'p', %(number)s * 1000 + n, 'Zoë', 'Núñez',
               'user' || n || '@example.org', 'Female', 'jazz', %(day)s, %(day)s
        FROM generate_series(1, %(rows)s) AS n""",
    "staged_listens": """
        INSERT INTO staged_listens (run_id, day, pull, user_id, track_id, listened_at,
                                    recorded_at, nth)
        SELECT %(run)s, %(day)s, 'p', n, n + 1, %(day)s, %(day)s, 1
        FROM generate_series(1, %(rows)s) AS n""",
}

# What must be done to a day's rows to break each expectation.
FAULTS: dict[tuple[str, str], LiteralString] = {
    ("staged_tracks", "id_unique"): (
        "UPDATE staged_tracks SET id = id - 1 WHERE day = %(day)s AND id % 1000 = 2"
    ),
    ("staged_tracks", "id_present"): (
        "UPDATE staged_tracks SET id = NULL WHERE day = %(day)s AND id % 1000 = 2"
    ),
    ("staged_tracks", "name_present"): "UPDATE staged_tracks SET name = '' WHERE day = %(day)s",
    ("staged_tracks", "duration_sane"): (
        "UPDATE staged_tracks SET duration_seconds = 0 WHERE day = %(day)s"
    ),
    ("staged_tracks", "created_at_sane"): (
        "UPDATE staged_tracks SET created_at = '1799-01-01' WHERE day = %(day)s AND id % 1000 = 2"
    ),
    ("staged_users", "id_unique"): (
        "UPDATE staged_users SET id = id - 1 WHERE day = %(day)s AND id % 1000 = 2"
    ),
    ("staged_users", "id_present"): (
        "UPDATE staged_users SET id = NULL WHERE day = %(day)s AND id % 1000 = 2"
    ),
    ("staged_users", "email_like"): (
        "UPDATE staged_users SET email = gender WHERE day = %(day)s AND id % 1000 <= 5"
    ),
    ("staged_users", "created_at_sane"): (
        "UPDATE staged_users SET created_at = '2150-01-01' WHERE day = %(day)s AND id % 1000 = 2"
    ),
    ("staged_listens", "play_unique"): (
        "INSERT INTO staged_listens SELECT * FROM staged_listens "
        "WHERE day = %(day)s AND user_id = 2"
    ),
    ("staged_listens", "user_id_present"): (
        "UPDATE staged_listens SET user_id = NULL WHERE day = %(day)s AND user_id = 2"
    ),
    ("staged_listens", "track_id_present"): (
        "UPDATE staged_listens SET track_id = NULL WHERE day = %(day)s AND user_id = 2"
    ),
    ("staged_listens", "listened_at_sane"): (
        "UPDATE staged_listens SET listened_at = '1799-01-01' WHERE day = %(day)s AND user_id = 2"
    ),
}


def day_of(rule: Expectation) -> date:
    """The day on which a rule's fault lies: each has its own, with a sound one after it."""
    return FIRST + timedelta(days=2 * expectations_of(rule.table).index(rule))


def days_of(table: str) -> list[date]:
    return [FIRST + timedelta(days=n) for n in range(2 * len(expectations_of(table)))]


@pytest.fixture(scope="module")
def faulty(postgres_url: str) -> Iterator[Warehouse]:
    """Staged slices in which every fault has a day of its own, next to what is not the run's."""
    warehouse = Warehouse(url=postgres_url, namespace="faulty")
    with warehouse.connect() as connection:
        for table in TABLES:
            for number, day in enumerate(days_of(table)):
                rows = {"run": RUN, "day": day, "number": number, "rows": ROWS_A_DAY}
                connection.execute(SOUND[table], rows)
                # Neither another run's rows nor those that were brought along are judged.
                connection.execute(SOUND[table], rows | {"run": "another"})
        for rule in STAGED_EXPECTATIONS:
            fault = FAULTS[rule.table, rule.name].replace("%(day)s", f"'{day_of(rule)}'")
            connection.execute(fault.encode())
            connection.execute(
                f"INSERT INTO {rule.table} (run_id, day, pull) VALUES ('{RUN}', NULL, 'p')".encode()  # noqa: S608
            )
    yield warehouse
    drop_schemas(warehouse)


@pytest.fixture(scope="module")
def validators(faulty: Warehouse) -> dict[str, Validator]:
    return {
        table: gx_validator(faulty.address(), "faulty_staging", table, RUN, expectations_of(table))
        for table in TABLES
    }


def test_every_expectation_has_a_fault_here() -> None:
    assert set(FAULTS) == {(rule.table, rule.name) for rule in STAGED_EXPECTATIONS}
    assert len(FAULTS) == len(STAGED_EXPECTATIONS), "names are unique within a table"


@pytest.mark.parametrize("table", TABLES)
def test_each_fault_fails_its_expectation_and_no_other(
    validators: dict[str, Validator], table: str
) -> None:
    rules = expectations_of(table)
    verdicts = judge_days(validators[table], days_of(table))
    expected: dict[date, list[str]] = {key: [] for key in days_of(table)}
    expected |= {day_of(rule): [rule.name] for rule in rules}
    assert verdicts.failed == expected
    for rule in rules:
        result = verdicts.whole[rule.name]
        # Over all days together, a fault of one day is within what some rules forgive.
        assert result.passed == ("mostly" in rule.arguments and rule.name == "email_like")
        assert result.error is None
        assert 0 < result.unexpected <= result.rows == _rows_in(table)


def _rows_in(table: str) -> int:
    # The fault of `play_unique` is one row more.
    return ROWS_A_DAY * len(days_of(table)) + int(table == "staged_listens")


@pytest.mark.parametrize("table", TABLES)
def test_a_silent_day_is_a_good_day(validators: dict[str, Validator], table: str) -> None:
    silent = date(2026, 12, 24)
    results = validators[table](silent, silent)
    assert set(results) == {rule.name for rule in expectations_of(table)}
    assert all(result.passed for result in results.values())


def test_a_rule_that_cannot_be_run_fails_and_says_why(faulty: Warehouse) -> None:
    rule = Expectation(
        "mood_present", "staged_users", "ExpectColumnValuesToNotBeNull", "", {"column": "mood"}
    )
    validate = gx_validator(faulty.address(), "faulty_staging", "staged_users", RUN, [rule])
    result = validate(FIRST, FIRST)["mood_present"]
    assert not result.passed
    assert result.error is not None
    assert "mood" in result.error


def test_every_expectation_tells_what_goes_wrong_without_it() -> None:
    assert all(len(rule.why.split()) > 4 and rule.why.endswith(".") for rule in STAGED_EXPECTATIONS)
