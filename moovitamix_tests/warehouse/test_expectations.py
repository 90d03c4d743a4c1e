"""Every expectation, run by Great Expectations on Postgres, is failed by its fault and no other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import LiteralString

import psycopg
import pytest

from moovitamix.resources import Warehouse
from moovitamix.warehouse.expectations import STAGED_EXPECTATIONS, Expectation, expectations_of
from moovitamix.warehouse.judge import Validator, expect_verdicts, gx_validator, judge_days
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
    ("staged_tracks", "duration_seconds_present"): (
        "UPDATE staged_tracks SET duration_seconds = NULL WHERE day = %(day)s AND id % 1000 = 2"
    ),
    ("staged_tracks", "updated_at_sane"): (
        "UPDATE staged_tracks SET updated_at = '2150-01-01' WHERE day = %(day)s AND id % 1000 = 2"
    ),
    ("staged_tracks", "row_complete"): (
        "UPDATE staged_tracks SET name = NULL WHERE day = %(day)s AND id % 1000 = 2"
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
    ("staged_users", "updated_at_sane"): (
        "UPDATE staged_users SET updated_at = '1799-01-01' WHERE day = %(day)s AND id % 1000 = 2"
    ),
    ("staged_users", "row_complete"): (
        "UPDATE staged_users SET gender = NULL WHERE day = %(day)s AND id % 1000 = 2"
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
    ("staged_listens", "recorded_at_sane"): (
        "UPDATE staged_listens SET recorded_at = '2150-01-01' WHERE day = %(day)s AND user_id = 2"
    ),
    ("staged_listens", "row_complete"): (
        "UPDATE staged_listens SET nth = NULL WHERE day = %(day)s AND user_id = 2"
    ),
    # These users are staged, but by another run.
    ("staged_listens", "references_resolvable"): (
        "UPDATE staged_listens SET user_id = user_id + 500000 WHERE day = %(day)s"
    ),
    ("staged_listens", "volume_usual"): "DELETE FROM staged_listens WHERE day = %(day)s",
}


def day_of(rule: Expectation) -> date:
    """The day on which a rule's fault lies: each has its own."""
    return FIRST + timedelta(days=expectations_of(rule.table).index(rule))


def days_of(table: str) -> list[date]:
    """A day for each rule, and a sound one."""
    return [FIRST + timedelta(days=n) for n in range(len(expectations_of(table)) + 1)]


def rule_called(table: str, name: str) -> Expectation:
    return next(rule for rule in STAGED_EXPECTATIONS if rule.is_called(table, name))


def publish(connection: psycopg.Connection, listens: dict[date, int]) -> None:
    connection.cursor().executemany(
        "INSERT INTO published_days (day, pull, run_id, listens) VALUES (%s, 'p', 'r', %s)",
        list(listens.items()),
    )


@pytest.fixture(scope="module")
def faulty(postgres_url: str) -> Iterator[Warehouse]:
    """Staged slices in which every fault has a day of its own, next to what is not the run's."""
    warehouse = Warehouse(url=postgres_url, namespace="faulty")
    with warehouse.connect() as connection:
        # The users that are heard are staged, the tracks are in the tables.
        connection.execute(
            "INSERT INTO tracks SELECT n, '', '', '', '3 minutes', '', now(), now(), null, 'p' "
            "FROM generate_series(1, %s) AS n",
            (ROWS_A_DAY + 1,),
        )
        silent = day_of(rule_called("staged_listens", "volume_usual"))
        usual = [silent - timedelta(weeks=weeks) for weeks in (3, 4, 5)]
        publish(connection, dict.fromkeys(usual, 3 * ROWS_A_DAY))
        expect_verdicts(
            connection, run_id=RUN, endpoint="staged_listens", days=days_of("staged_listens")
        )
        for table in TABLES:
            for number, day in enumerate(days_of(table)):
                rows = {"run": RUN, "day": day, "number": number, "rows": ROWS_A_DAY}
                connection.execute(SOUND[table], rows)
                # Neither another run's rows nor those that were brought along are judged.
                others = {"run": "another", "number": 500 * (table == "staged_users") + number}
                connection.execute(SOUND[table], rows | others)
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
        table: gx_validator(faulty.address(), "faulty", table, RUN, expectations_of(table))
        for table in TABLES
    }


def test_every_expectation_has_a_fault_here() -> None:
    assert set(FAULTS) == {(rule.table, rule.name) for rule in STAGED_EXPECTATIONS}
    assert len(FAULTS) == len(STAGED_EXPECTATIONS), "names are unique within a table"


@pytest.mark.parametrize("table", TABLES)
def test_each_fault_fails_its_expectation_and_no_other(
    validators: dict[str, Validator], table: str
) -> None:
    rules, days, validate = expectations_of(table), days_of(table), validators[table]
    failed = {
        day: [name for name, result in validate(day, day).items() if not result.passed]
        for day in days
    }
    expected: dict[date, list[str]] = {key: [] for key in days}
    expected |= {day_of(rule): [rule.name] for rule in rules}
    assert failed == expected
    whole = validate(days[0], days[-1])
    for rule in rules:
        result = whole[rule.name]
        # Over all days together, a fault of one day is within what some rules forgive.
        assert result.passed == ("mostly" in rule.arguments and rule.name == "email_like")
        assert result.error is None
        assert 0 < result.unexpected <= result.rows == _rows_in(table)


def _rows_in(table: str) -> int:
    rows = ROWS_A_DAY * len(days_of(table))
    # The fault of `play_unique` is one row more, that of `volume_usual` a day without any.
    return rows + 1 - ROWS_A_DAY if table == "staged_listens" else rows


@pytest.mark.parametrize("table", TABLES)
def test_a_silent_day_is_a_good_day(validators: dict[str, Validator], table: str) -> None:
    silent = date(2026, 12, 24)
    results = validators[table](silent, silent)
    assert set(results) == {rule.name for rule in expectations_of(table)}
    assert all(result.passed for result in results.values())


MONDAY = date(2026, 11, 23)

# By weekday from Monday: what was published so many weeks before, the day's listens, the verdict.
VOLUMES: list[tuple[str, dict[int, int], int, bool]] = [
    ("a quarter of the least is a quiet day", {1: 900, 2: 400, 8: 700}, 100, True),
    ("less than a quarter of the least is half a day", {1: 900, 2: 400, 8: 700}, 99, False),
    ("four times the most is a busy day", {1: 300, 2: 400, 3: 100}, 1_600, True),
    ("more than four times the most is a day twice", {1: 300, 2: 400, 3: 100}, 1_601, False),
    ("of a small app silence proves nothing", {1: 99, 2: 99, 3: 99}, 0, True),
    ("two days are no habit, nor is what is too old", {1: 400, 2: 400, 9: 400}, 0, True),
    ("silent days that were accepted are no measure", {1: 400, 2: 400, 3: 0}, 0, True),
]


def test_a_day_is_compared_with_the_same_weekday_of_the_last_weeks(warehouse: Warehouse) -> None:
    days = [MONDAY + timedelta(days=n) for n in range(len(VOLUMES))]
    rule = rule_called("staged_listens", "volume_usual")
    with warehouse.connect() as connection:
        for day, (_, before, listens, _) in zip(days, VOLUMES, strict=True):
            publish(connection, {day - timedelta(weeks=weeks): n for weeks, n in before.items()})
            rows = {"run": RUN, "day": day, "number": 0, "rows": listens}
            connection.execute(SOUND["staged_listens"], rows)
        expect_verdicts(connection, run_id=RUN, endpoint="staged_listens", days=days)

    def validator() -> Validator:
        return gx_validator(
            warehouse.address(), warehouse.schema_name, "staged_listens", RUN, [rule]
        )

    failed = judge_days(validator(), days).failed
    assert [(case, not failed[day]) for day, (case, *_) in zip(days, VOLUMES, strict=True)] == [
        (case, passed) for case, *_, passed in VOLUMES
    ]
    with warehouse.connect() as connection:
        publish(connection, dict.fromkeys(days, 50))
    good = judge_days(validator(), days).good
    assert good == days, "a day that is published loses listens to later contents"


def test_a_few_listens_may_wait_for_their_users_and_tracks(warehouse: Warehouse) -> None:
    rule = rule_called("staged_listens", "references_resolvable")
    days = [MONDAY + timedelta(days=n) for n in range(4)]
    with warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO users SELECT n, '', '', '', '', now(), now(), 'p' "
            "FROM generate_series(1, 1000) AS n"
        )
        connection.execute(
            "INSERT INTO staged_tracks (run_id, pull, id) "
            "SELECT %s, 'p', n FROM generate_series(1, 1001) AS n",
            (RUN,),
        )
        for day, (resolvable, unknown) in zip(
            days, [(0, 20), (0, 21), (84, 21), (83, 21)], strict=True
        ):
            rows = {"run": RUN, "day": day, "number": 0}
            connection.execute(SOUND["staged_listens"], rows | {"rows": resolvable})
            connection.execute(
                SOUND["staged_listens"].replace("n + 1,", "n + 2000,"), rows | {"rows": unknown}
            )
    validate = gx_validator(
        warehouse.address(), warehouse.schema_name, "staged_listens", RUN, [rule]
    )
    assert judge_days(validate, days).good == [days[0], days[2]]


def test_a_rule_that_cannot_be_run_fails_and_says_why(faulty: Warehouse) -> None:
    rule = Expectation(
        "mood_present", "staged_users", "ExpectColumnValuesToNotBeNull", "", {"column": "mood"}
    )
    validate = gx_validator(faulty.address(), "faulty", "staged_users", RUN, [rule])
    result = validate(FIRST, FIRST)["mood_present"]
    assert not result.passed
    assert result.error is not None
    assert "mood" in result.error


def test_every_expectation_tells_what_goes_wrong_without_it() -> None:
    assert all(len(rule.why.split()) > 4 and rule.why.endswith(".") for rule in STAGED_EXPECTATIONS)
