"""The embedded servers of a home are started on demand, found again, and stopped together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psycopg
import pytest
import redis

from moovitamix.embedded import services
from moovitamix.settings import get_settings

NOTHING = {"postgres": False, "valkey": False, "demo source": False}


@pytest.fixture(autouse=True)
def _stopped_at_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("MOOVITAMIX_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield
    services.stop()


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime | None], None]:
    """Set the simulated present, or unset it."""

    def set_present(moment: datetime | None) -> None:
        if moment is None:
            monkeypatch.delenv("MOOVITAMIX_NOW", raising=False)
        else:
            monkeypatch.setenv("MOOVITAMIX_NOW", moment.isoformat())
        get_settings.cache_clear()

    return set_present


def page(url: str, endpoint: str = "listen_history") -> dict[str, Any]:
    with urlopen(f"{url}/{endpoint}?size=5", timeout=20) as answer:  # noqa: S310
        told: dict[str, Any] = json.load(answer)
    return told


def founded(home: Path) -> date:
    return date.fromisoformat(
        json.loads((home / "demo_source" / "world.json").read_text())["first_day"]
    )


def test_with_nothing_started_nothing_runs_and_there_is_nothing_to_stop() -> None:
    assert services.running() == NOTHING
    assert services.stop() == []


def test_each_server_is_told_as_running_from_its_start_to_its_stop() -> None:
    with psycopg.connect(services.ensure_postgres()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert services.running() == NOTHING | {"postgres": True}
    with redis.Redis.from_url(services.ensure_valkey()) as client:
        assert client.ping()
    assert services.running() == NOTHING | {"postgres": True, "valkey": True}
    assert services.stop(["postgres"]) == ["postgres"]
    assert services.running() == NOTHING | {"valkey": True}
    assert services.stop() == ["valkey"]
    assert services.running() == NOTHING
    assert services.stop() == []


def test_only_what_is_not_configured_elsewhere_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOOVITAMIX_DATABASE_URL", "postgresql://db.example.com/music")
    monkeypatch.setenv("MOOVITAMIX_SOURCE_URL", "https://api.example.com")
    get_settings.cache_clear()
    assert services.start_all() == {"valkey": services.ensure_valkey()}
    assert services.running() == NOTHING | {"valkey": True}


def test_two_homes_have_servers_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = services.ensure_valkey()
    try:
        monkeypatch.setenv("MOOVITAMIX_HOME", str(tmp_path / "second"))
        get_settings.cache_clear()
        assert services.running() == NOTHING
        assert services.ensure_valkey() != first
        assert services.stop() == ["valkey"]
    finally:
        monkeypatch.setenv("MOOVITAMIX_HOME", str(tmp_path / "home"))
        get_settings.cache_clear()
    assert services.running() == NOTHING | {"valkey": True}


def test_the_demonstration_source_shows_the_same_world_after_a_restart(
    at: Callable[[datetime | None], None],
) -> None:
    present = datetime.now(UTC).replace(microsecond=0)
    at(present)
    url = services.ensure_demo_source()
    assert services.running() == NOTHING | {"demo source": True}
    assert services.ensure_demo_source() == url
    before = {name: page(url, name) for name in ("tracks", "users", "listen_history")}
    assert all(told["total"] > 0 for told in before.values())

    assert services.stop() == ["demo source"]
    after = services.ensure_demo_source()
    totals = {name: page(after, name)["total"] for name in before}
    # Its clock goes on, so that a few records more may have come in.
    assert all(0 <= totals[name] - before[name]["total"] < 50 for name in before)
    assert page(after, "users")["items"] == before["users"]["items"]
    assert founded(get_settings().home_path) == present.date() - timedelta(services.DEMO_DAYS)


def test_a_changed_or_unset_present_is_what_the_demonstration_source_shows(
    at: Callable[[datetime | None], None],
) -> None:
    today = datetime.now(UTC).replace(microsecond=0)
    at(today - timedelta(days=20))
    earlier = page(services.ensure_demo_source())["total"]
    first_day = founded(get_settings().home_path)

    at(today - timedelta(days=10))
    later = page(services.ensure_demo_source())["total"]
    assert later > earlier

    at(None)
    assert page(services.ensure_demo_source())["total"] > later
    assert founded(get_settings().home_path) == first_day
