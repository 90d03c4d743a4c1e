"""A run pulls only when it must, and only one run at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import date

import pytest

from moovitamix.errors import NothingToDo, StoreUnavailable
from moovitamix.ingest import before
from moovitamix.ingest.client import SourceClient
from moovitamix.ingest.ensure import ensure_pull
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import Pull, kept_pulls
from moovitamix.resources import Source, Warehouse
from moovitamix.settings import get_settings
from moovitamix.warehouse.judge import RuleResult, Verdicts, record_verdicts
from moovitamix_tests.locks import lose
from moovitamix_tests.reference_source import ReferenceSource

DAYS = [date(2026, 11, 19), date(2026, 11, 20)]


@pytest.fixture(autouse=True)
def _noon_of_the_21st(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOOVITAMIX_NOW", "2026-11-21T12:00:00")
    get_settings.cache_clear()


def ensure(
    source: ReferenceSource,
    lake: LakeStore,
    warehouse: Warehouse,
    days: Sequence[date] = DAYS,
    *,
    refresh: bool = False,
    told: list[str] | None = None,
) -> Pull:
    log = (told if told is not None else []).append
    return ensure_pull(Source(url=source.url), lake, warehouse, days, refresh=refresh, log=log)


def test_any_number_of_days_take_one_pull(
    source: ReferenceSource, lake: LakeStore, warehouse: Warehouse
) -> None:
    told: list[str] = []
    first = ensure(source, lake, warehouse, told=told)
    requests = source.requests.total()
    assert ensure(source, lake, warehouse, DAYS[:1], told=told) == first
    assert ensure(source, lake, warehouse, [date(2026, 10, 1)]) == first
    assert source.requests.total() == requests
    assert told[-1] == "The pull of 2026-11-21 12:00 UTC covers 2026-11-19"


def test_nobody_pulls_or_loads_while_a_reset_is_half_done(
    source: ReferenceSource, lake: LakeStore, warehouse: Warehouse
) -> None:
    ensure(source, lake, warehouse)
    before.begin(lake, "old")
    for refresh in (False, True):
        with pytest.raises(NothingToDo, match="source accept-reset"):
            ensure(source, lake, warehouse, refresh=refresh)
    before.finish(lake)
    ensure(source, lake, warehouse)


def test_a_later_day_or_a_wish_takes_another_pull(
    source: ReferenceSource,
    lake: LakeStore,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = ensure(source, lake, warehouse)
    wished = ensure(source, lake, warehouse, refresh=True)
    monkeypatch.setenv("MOOVITAMIX_NOW", "2026-11-22T00:00:01")
    get_settings.cache_clear()
    later = ensure(source, lake, warehouse, [date(2026, 11, 21)])
    assert [pull.name for pull in kept_pulls(lake)] == [first.name, wished.name, later.name]


def test_a_day_that_this_pull_left_blocked_takes_another_pull(
    source: ReferenceSource, lake: LakeStore, warehouse: Warehouse
) -> None:
    first = ensure(source, lake, warehouse)
    with warehouse.connect() as connection:
        failed = {DAYS[0]: ["email_like"], DAYS[1]: []}
        record_verdicts(
            connection,
            run_id="a run",
            endpoint="staged_users",
            pull=first.name,
            verdicts=Verdicts(
                {"email_like": RuleResult(passed=False, rows=9, unexpected=9)}, failed
            ),
        )
    assert ensure(source, lake, warehouse, DAYS[1:]) == first, "the other day is not blocked"
    assert ensure(source, lake, warehouse, DAYS).name > first.name
    assert ensure(source, lake, warehouse, DAYS).name == kept_pulls(lake)[1].name, "once"


def test_a_day_that_is_not_over_is_nothing_to_do(
    source: ReferenceSource, lake: LakeStore, warehouse: Warehouse
) -> None:
    with pytest.raises(NothingToDo, match="2026-11-21 is not over yet"):
        ensure(source, lake, warehouse, [date(2026, 11, 20), date(2026, 11, 21)])
    assert source.requests.total() == 0


def test_of_two_runs_at_once_one_pulls_and_the_other_waits_for_it(
    source: ReferenceSource, lake: LakeStore, warehouse: Warehouse
) -> None:
    with warehouse.connect():
        pass
    told: list[str] = []
    found: list[Pull] = []
    waiting = threading.Event()

    def tell(said: str) -> None:
        told.append(said)
        waiting.set()

    def ensure_too() -> None:
        there = Source(url=source.url)
        found.append(ensure_pull(there, lake, warehouse, DAYS, refresh=False, log=tell))

    second = threading.Thread(target=ensure_too)

    def let_the_second_come(_endpoint: str, _page: int) -> None:
        source.on_request = None
        second.start()
        assert waiting.wait(timeout=20)

    source.on_request = let_the_second_come
    first = ensure(source, lake, warehouse)
    second.join(timeout=20)
    assert found == [first]
    assert told[0] == "Another pull is under way: waiting for it"
    assert kept_pulls(lake) == [first]


def test_a_pull_whose_lock_was_lost_is_not_kept(
    source: ReferenceSource, lake: LakeStore, warehouse: Warehouse
) -> None:
    def lose_it(_endpoint: str, _page: int) -> None:
        source.on_request = None
        lose(warehouse, "pull")

    source.on_request = lose_it
    with pytest.raises(StoreUnavailable, match="session that held the lock `pull`"):
        ensure(source, lake, warehouse)
    assert kept_pulls(lake) == []
    kept = ensure(source, lake, warehouse)
    assert kept_pulls(lake) == [kept]
    assert {name for name in lake.names("raw") if kept.name not in name} == set(), "swept"


def test_the_token_of_the_settings_is_sent_in_the_header_of_the_settings(
    source: ReferenceSource,
    lake: LakeStore,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens: list[tuple[str | None, str | None]] = []

    class NotingClient(SourceClient):
        def __init__(
            self, url: str, token: str | None = None, token_header: str | None = None
        ) -> None:
            tokens.append((token, token_header))
            super().__init__(url, token, token_header)

    monkeypatch.setattr("moovitamix.ingest.ensure.SourceClient", NotingClient)
    monkeypatch.setenv("MOOVITAMIX_SOURCE_TOKEN", "hunter2")
    monkeypatch.setenv("MOOVITAMIX_SOURCE_TOKEN_HEADER", "X-API-Key")
    get_settings.cache_clear()
    told: list[str] = []
    ensure(source, lake, warehouse, told=told)
    assert tokens == [("hunter2", "X-API-Key")]
    assert "hunter2" not in " ".join(told)
    assert any(said.startswith("Read 40 tracks, 40 users, 40 listen_history;") for said in told)
