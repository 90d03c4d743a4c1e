"""What a platform in operation tells of itself: every metric moves, every panel has an answer.

Real runs, real requests, a real Prometheus. All of it is in one module, for the platform takes a
while. How Grafana draws panels is not tested: there is none.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest

from moovitamix.ingest.ensure import ensure_pull
from moovitamix.observe.metrics.exporter import exporting
from moovitamix.observe.metrics.family import Family
from moovitamix.observe.metrics.model_families import MODEL_QUALITY
from moovitamix.observe.metrics.read_models import read_models
from moovitamix.observe.metrics.registry import FAMILIES
from moovitamix.observe.metrics.samples import Sample
from moovitamix.resources import Source, Warehouse
from moovitamix_tests.conftest import drop_schemas
from moovitamix_tests.observe.metrics.operated import last_days, operating
from moovitamix_tests.observe.metrics.panels import targets
from moovitamix_tests.observe.metrics.platform import Operated, Series, changed, moved
from moovitamix_tests.observe.metrics.scraping import PATIENCE, answer, prometheus, until
from moovitamix_tests.reference_source import serve_app

_ENDINGS = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "gauge": ("",)}


@pytest.fixture(scope="module")
def operated(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """A platform after some days: see `operated.py`."""
    warehouse = Warehouse(url=postgres_url, namespace=f"t{uuid.uuid4().hex[:12]}")
    with operating(tmp_path_factory.mktemp("operated"), warehouse) as platform:
        yield platform
    drop_schemas(warehouse)


def names_of(family: Family) -> set[str]:
    return {family.name + ending for ending in _ENDINGS[family.kind]}


def all_scrapes(operated: Operated) -> list[Series]:
    return [*operated.batch, *operated.api]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_it_moves(family: Family, operated: Operated) -> None:
    asked, refused = operated.api[:2], operated.api[2:]
    found = (
        # That it appears is not enough: it may be frozen, or tell the oldest of what is there.
        [changed(*pair) for pair in combinations(operated.batch, 2)]
        if family.set_by == "batch"
        else [moved(asked[0], asked[1]), moved(refused[0], refused[1])]
    )
    assert names_of(family) <= set().union(*found)


def test_nothing_is_told_that_is_not_in_the_registry(operated: Operated) -> None:
    told = {name for scrape in all_scrapes(operated) for name, _ in scrape}
    assert told == set().union(*map(names_of, FAMILIES))


def test_labels_are_those_of_the_registry_and_have_its_values(operated: Operated) -> None:
    ends = {name: family for family in FAMILIES for name in names_of(family)}
    for scrape in all_scrapes(operated):
        for name, labels in scrape:
            family, found = ends[name], dict(labels)
            found.pop("le", None)
            assert set(found) == set(family.label_names), name
            for label in family.labels:
                assert not label.values or found[label.name] in label.values, (name, found)


def test_no_label_tells_a_user_a_day_or_a_run(operated: Operated) -> None:
    values = {
        value for scrape in all_scrapes(operated) for _, labels in scrape for _, value in labels
    }
    with operated.warehouse.connect() as connection:
        days = {str(day) for (day,) in connection.execute("SELECT day FROM published_days")}
        runs = {run for (run,) in connection.execute("SELECT run_id FROM step_figures")}
    assert days
    assert not values & (days | runs)
    assert not [value for value in values if "somebody" in value]


def test_a_publication_is_kept_by_table_with_its_days(operated: Operated) -> None:
    days = last_days()
    with operated.warehouse.connect() as connection:
        found = connection.execute(
            "SELECT first_day, last_day, new, rows FROM load_figures "
            "WHERE table_name = 'listen_history' ORDER BY loaded_at"
        ).fetchall()
        rows = connection.execute("SELECT count(*) FROM listen_history").fetchone()
    first, second = found
    assert first[:2] == (days[0], days[-4])
    assert second[:2] == (days[-3], days[-2]), "the blocked day is not told as published"
    assert first[3] == first[2]
    assert rows == (second[3],) == (first[2] + second[2],)


def test_every_step_and_check_of_the_runs_is_kept(operated: Operated) -> None:
    with operated.warehouse.connect() as connection:
        steps = set(connection.execute("SELECT stage, step FROM step_figures").fetchall())
        checks = dict(
            connection.execute(
                "SELECT DISTINCT ON (asset, check_name) asset || '.' || check_name, result "
                "FROM check_figures ORDER BY asset, check_name, checked_at DESC"
            ).fetchall()
        )
    assert {"ingest", "warehouse", "recommend", "serve", "observe", "upkeep"} == {
        stage for stage, _ in steps
    }
    assert checks["staged_users.email_like"] == "warned"
    assert checks["raw_tracks.fields_as_declared"] == "warned"
    assert checks["raw_tracks.counts_add_up"] == "passed"


def test_the_newest_other_version_that_was_judged_is_the_challenger(operated: Operated) -> None:
    with operated.warehouse.connect() as connection:
        connection.execute(
            """INSERT INTO model_versions (status, algorithm, as_of, pull, matrix_fingerprint,
                   parameters, metrics, verdict, artifact, code_version, run_id)
               SELECT 'rejected', algorithm, as_of - 1, pull, matrix_fingerprint, parameters,
                   metrics, 'worse', artifact, code_version, 'another' FROM model_versions"""
        )
        told = {
            one.labels: one.value
            for one in read_models(connection)
            if isinstance(one, Sample) and one.family is MODEL_QUALITY
        }
        connection.rollback()
    roles = {labels[0] for labels in told}
    assert roles == {"champion", "challenger"}
    assert 0 < told["champion", "candidate", "discovery", "ndcg"] <= 1
    assert {labels[1] for labels in told} == {"candidate", "popularity"}


def test_every_panel_has_something_to_show(operated: Operated, tmp_path: Path) -> None:
    waiting, errors = targets(), {}
    api = operated.build_api(background=True)
    with (
        exporting(
            operated.warehouse, operated.cache, operated.lake, "127.0.0.1", 0, seconds=0.5
        ) as port,
        serve_app(api.app) as api_url,
        prometheus(tmp_path, batch=f"127.0.0.1:{port}", api=api_url.partition("//")[2]) as client,
    ):
        until(lambda: bool(answer(client, "moovitamix_source_request_failures_total")))
        ensure_pull(
            Source(url=operated.source_url),
            operated.lake.open(),
            operated.warehouse,
            last_days()[-1:],
            refresh=True,
            log=lambda _: None,
        )
        latest = monotonic() + PATIENCE
        number = 0
        while waiting and monotonic() < latest:
            _use(api_url, number := number + 1)
            for name, expression in list(waiting.items()):
                found = answer(client, expression)
                if isinstance(found, str):
                    errors[name] = found
                elif found:
                    del waiting[name]
            sleep(0.2)  # between two looks; what is looked for comes with the next scrape
    assert errors == {}
    assert waiting == {}


def _use(api_url: str, number: int) -> None:
    """What apps do, a little of it."""
    with httpx.Client(base_url=api_url) as app:
        for path in ("/users/1/recommendations", "/users/87654/recommendations", "/tracks/popular"):
            assert app.get(path).status_code == 200
        moment = (datetime.now(UTC) - timedelta(minutes=number)).replace(tzinfo=None).isoformat()
        heard = {"user_id": 3, "items": [5], "created_at": moment, "updated_at": moment}
        assert app.post("/listens", json=heard).status_code == 202
