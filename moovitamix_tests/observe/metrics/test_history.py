"""What is kept of runs: it stays queryable, goes in time, and counters go on after that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moovitamix.ingest.request_times import BUCKETS, RequestTimes
from moovitamix.observe.metrics.batch_families import SOURCE_FAILURES, SOURCE_REQUESTS
from moovitamix.observe.metrics.dimensions import dimension_of
from moovitamix.observe.metrics.model_families import TIERS
from moovitamix.observe.metrics.read_quality import reason_class
from moovitamix.observe.metrics.read_runs import read_runs
from moovitamix.observe.metrics.samples import Distribution, Sample, metrics_of
from moovitamix.resources import Warehouse
from moovitamix.serve.http.answer import Tier
from moovitamix.warehouse.expectations import STAGED_EXPECTATIONS
from moovitamix.warehouse.figures import forget, keep_request_times

requests = st.lists(
    st.lists(st.one_of(st.none(), st.floats(0.0001, 100.0)), max_size=5), min_size=1, max_size=6
)


@given(requests, st.integers(0, 6))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counters_of_the_source_go_on_when_old_rows_are_forgotten(
    warehouse: Warehouse, pulls: list[list[float | None]], forgotten: int
) -> None:
    now = datetime.now(UTC)
    with warehouse.connect() as connection:
        connection.execute("TRUNCATE source_figures")
        for number, pull in enumerate(pulls):
            times = RequestTimes()
            for seconds in pull:
                if seconds is None:
                    times.failed("users")
                else:
                    times.took("users", seconds)
            keep_request_times(connection, times)
            connection.execute(
                "UPDATE source_figures SET asked_at = %s WHERE asked_at > %s",
                (now - timedelta(days=100 - number), now - timedelta(days=1)),
            )
        before = _source(connection)
        for _ in range(2):
            forget(connection, now - timedelta(days=100 - forgotten))
        after = _source(connection)
        connection.rollback()
    assert after.keys() == before.keys()
    for name, counts in before.items():
        assert after[name][:-1] == counts[:-1]
        assert abs(after[name][-1] - counts[-1]) < 1e-6
    answered = [seconds for pull in pulls for seconds in pull if seconds is not None]
    if "requests" in before:
        assert sum(before["requests"][:-1]) == len(answered)


def _source(connection: psycopg.Connection) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one in read_runs(connection):
        if isinstance(one, Distribution) and one.family is SOURCE_REQUESTS:
            found["requests"] = [*one.counts, one.total]
        elif isinstance(one, Sample) and one.family is SOURCE_FAILURES:
            found["failures"] = [one.value]
    return found


@given(st.lists(st.floats(0, 1_000), max_size=50))
def test_each_request_falls_into_the_first_bucket_that_holds_it(took: list[float]) -> None:
    times = RequestTimes()
    for seconds in took:
        times.took("tracks", seconds)
    found = times.by_endpoint.get("tracks")
    counts = found.buckets if found else [0] * (len(BUCKETS) + 1)
    (metric,) = metrics_of([Distribution(SOURCE_REQUESTS, ("tracks",), counts, sum(took))])
    told = {one.labels["le"]: one.value for one in metric.samples if one.name.endswith("_bucket")}
    for bound in BUCKETS:
        assert told[str(bound)] == sum(seconds <= bound for seconds in took)
    assert told["+Inf"] == len(took)


def test_reasons_of_the_quarantine_are_few() -> None:
    assert reason_class("Unknown user") == "unknown user"
    assert reason_class("Unknown track") == "unknown track"
    assert reason_class("Object missing required field `name`") == "missing field"
    assert reason_class("Expected `int`, got `str`") == "type"
    assert reason_class("Dated further ahead than clocks err") == "date"
    assert reason_class("Expected a year from 1900 to 2199") == "date"
    assert reason_class("something new") == "other"


def test_every_tier_of_an_answer_is_a_value_of_the_label() -> None:
    assert {*get_args(Tier), "", "other"} == set(TIERS)


def test_rules_on_staged_rows_are_about_a_kind_of_quality() -> None:
    told = {rule.name: dimension_of(rule.name) for rule in STAGED_EXPECTATIONS}
    # How much there is, is no property of rows.
    assert {name for name, dimension in told.items() if dimension is None} == {"volume_usual"}
