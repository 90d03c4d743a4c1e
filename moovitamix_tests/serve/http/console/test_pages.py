"""The pages tell what the stores and the API tell, and what they cannot tell."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import redis

from moovitamix.ingest.pulls import pull_name
from moovitamix.observe import ledger, looks
from moovitamix.observe.conditions import Condition
from moovitamix.resources import Cache, Warehouse
from moovitamix.serve.http.app import Api
from moovitamix.serve.http.console import aside
from moovitamix.settings import get_settings
from moovitamix_tests.serve.http.console.conftest import Succession
from moovitamix_tests.serve.http.console.reading import HERE, said
from moovitamix_tests.serve.http.serving import Published, with_client
from moovitamix_tests.serve.world import NAMESPACE, World

USER = 5
PAGES = (
    "/",
    "/console/users",
    f"/console/users?id={USER}",
    "/console/tracks",
    "/console/tracks?q=Track",
    "/console/tracks/102",
    "/console/rollback",
)


@pytest.mark.parametrize(("minutes", "silent"), [(None, False), (3, False), (20, True)])
def test_the_first_page_tells_when_alerts_were_last_looked_after(
    succession: Succession, minutes: int | None, silent: bool
) -> None:
    if minutes is not None:
        with succession.world.stores.warehouse.connect() as connection:
            looks.note(connection, datetime.now(UTC) - timedelta(minutes=minutes))

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        page = said(await client.get(f"{HERE}/"))
        assert ("last looked after" in page) is (minutes is not None)
        assert ("daemon is silent" in page) is silent

    with_client(succession.world.stores, succession.world.home, ask)


def test_the_first_page_tells_of_stages_lists_versions_and_of_what_needs_somebody(
    succession: Succession, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores, now = succession.world.stores, datetime(2026, 11, 26, 8, tzinfo=UTC)
    monkeypatch.setenv("MOOVITAMIX_NOW", now.isoformat())
    get_settings.cache_clear()
    blocked, pull = (now - timedelta(days=1)).date(), pull_name(now)
    failed = Condition(
        key="run_failed:retrain:1", kind="run_failed", title="A <run> failed", text="Look at it."
    )
    with stores.warehouse.connect() as connection:
        connection.execute(
            """INSERT INTO published_days (day, pull, run_id)
               VALUES (%s, %s, 'r')""",
            (blocked - timedelta(days=1), pull),
        )
        connection.execute(
            """INSERT INTO blocked_days (day, endpoint, check_name, pull)
               VALUES (%s, 'staged_listens', 'volume_usual', %s)""",
            (blocked, pull),
        )
        connection.execute(
            """INSERT INTO quarantine (endpoint, sha256, payload, day, pull, reason)
               VALUES ('tracks', 'x', 'x', %s, 'p', 'no <name>')""",
            (blocked,),
        )
        connection.execute(
            """INSERT INTO drift_readings (day, feature, model_version, verdict, value, alarm)
               VALUES (%(day)s, 'plays', %(version)s, 'drifted', 2, 1),
                      (%(day)s, 'genres', %(version)s, 'steady', 1, 2)""",
            {"day": blocked - timedelta(days=1), "version": succession.second},
        )
        ledger.enter(connection, ledger.Look([failed], ["run_failed"]), [], now)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        page = await client.get(f"{HERE}/")
        told = said(page)
        needed = told[: told.index("Stages")]
        for title in ("A <run> failed", f"{blocked} is blocked", "The data has drifted from"):
            assert title in needed
        assert needed.index("critical") < needed.index("warning")
        stages = told[told.index("Stages") : told.index("Blocked days")]
        states = re.findall(r"(ingest|warehouse|recommend|serve|observe) [●▲✕?] ([a-z]+)", stages)
        assert states == [
            ("ingest", "well"),
            ("warehouse", "wrong"),
            ("recommend", "wrong"),
            ("serve", "well"),
            ("observe", "look"),
        ]
        assert re.findall(r"Last day ([\d-]+)(?: (\d) d behind)?", stages) == [
            ("2026-11-25", ""),
            ("2026-11-24", "1"),
            ("2026-11-22", "3"),
            ("2026-11-22", "3"),
            ("2026-11-24", "1"),
        ]
        assert "21 passed, 1 failed" in stages
        assert "staged_listens.volume_usual: failed" in stages
        assert "plays: failed" in stages
        assert "no <name>" in told
        assert f"{succession.latter} everybody {succession.second}" in told
        assert f"{succession.former} nobody {succession.first}" in told
        assert f"{succession.second} champion 2026-11-22 0.2000" in told
        assert "0.1000 better than the champion there" in told
        assert f"Roll back to version {succession.first}" in told

    with_client(stores, succession.world.home, ask)


def test_what_is_shown_of_a_user_is_what_the_app_is_sent_and_what_they_heard(
    succession: Succession,
) -> None:
    world = succession.world.world

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        sent = (
            await client.get(f"{HERE}/users/{USER}/recommendations?explain=true&limit=20")
        ).json()
        told = said(await client.get(f"{HERE}/console/users?id={USER}"))
        gets, heard = told.split("Heard 9 plays")
        listed = re.findall(r"(Track \d+) Artist \d [\d.]+ because", gets)
        assert listed == [item["name"] for item in sent["items"] if item["because"]]
        assert len(listed) > 5
        assert f"Tier {sent['tier']}" in gets
        assert f"Generation {sent['generation']}" in gets
        reason = sent["items"][0]["because"][0]
        assert f"because they heard {reason['name']} {reason['adds']:+.3f}" in gets
        assert {int(one) for one in re.findall(r"Track (\d+)", heard)} == world.heard_by(USER)
        cold = said(await client.get(f"{HERE}/console/users?id=70"))
        assert "popular in favourite genres" in cold
        assert "Nothing yet" in cold
        assert "no such account" in said(await client.get(f"{HERE}/console/users?id=999"))
        suggested = said(await client.get(f"{HERE}/console/users")).split("lately")[1]
        assert {int(one) for one in re.findall(r"\d+", suggested)} <= set(
            world.matrix.users.tolist()
        )
        api.world.hidden.note(USER, hidden=[103])
        assert "Has hidden 1, which no answer holds: Track 103" in said(
            await client.get(f"{HERE}/console/users?id={USER}")
        )
        api.world.erased_users = frozenset({USER})
        erased = said(await client.get(f"{HERE}/console/users?id={USER}"))
        assert "is being erased" in erased
        assert "because" not in erased

    with_client(succession.world.stores, succession.world.home, ask)


def test_nothing_of_the_table_of_users_is_on_any_page_and_the_log_does_not_know_the_user(
    fresh: Published,
) -> None:
    with fresh.stores.warehouse.connect() as connection:
        connection.execute(
            """UPDATE users SET first_name = 'Xenia', last_name = 'Quorra',
                   email = 'xq@example.org', gender = 'unheard-of'"""
        )

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        noted = []
        app = api.app.app

        async def spying(scope: dict[str, object], *rest: object) -> None:
            await app(scope, *rest)  # type: ignore[arg-type]  # ASGI, passed on
            noted.append(scope["noted"])

        api.app.app = spying  # type: ignore[assignment]  # an application
        for path in PAGES:
            page = await client.get(f"{HERE}{path}")
            assert not re.search("xenia|quorra|xq@|unheard", page.text, re.IGNORECASE)
        assert [one.route for one in noted] == [  # type: ignore[attr-defined]  # a `Noted`
            re.sub(r"/\d+", "/{id}", path.partition("?")[0]) for path in PAGES
        ]
        assert noted[2].user == USER  # type: ignore[attr-defined]  # a `Noted`

    with_client(fresh.stores, fresh.home, ask)


def test_a_track_is_found_by_name_artist_or_id_and_shown_with_its_neighbours(
    succession: Succession,
) -> None:
    world = succession.world.world

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api

        async def found(typed: str) -> list[int]:
            page = await client.get(f"{HERE}/console/tracks", params={"q": typed})
            return [int(one) for one in re.findall(r"Track (\d+) Artist", said(page))]

        def listeners(track: int) -> int:
            users = world.matrix.users.tolist()
            return sum(track in world.heard_by(user) for user in users)

        assert await found("102") == [102]
        named = await found("tRACK 10")
        assert sorted(named) == list(range(100, 110))
        assert [listeners(one) for one in named] == sorted(map(listeners, named), reverse=True)
        assert {one % 7 for one in await found("Artist 3")} == {3}
        assert await found("%") == await found("_") == await found("\\") == []
        popular = re.findall(r"Track (\d+) ", said(await client.get(f"{HERE}/console/tracks")))
        assert len(popular) == 20
        similar = (await client.get(f"{HERE}/tracks/102/similar?limit=20")).json()
        told = said(await client.get(f"{HERE}/console/tracks/102"))
        neighbours = told.split("Neighbours")[1]
        assert re.findall(r"Track (\d+) ", neighbours) == [
            str(one["track_id"]) for one in similar["items"]
        ]
        assert f"Plays {listeners(102)} by {listeners(102)} people" in told
        gone = said(await client.get(f"{HERE}/console/tracks/{World.WITHDRAWN[0]}"))
        assert "Withdrawn at the source" in gone

    with_client(succession.world.stores, succession.world.home, ask)


def test_whatever_is_typed_is_shown_as_text_and_answered_by_a_page(published: Published) -> None:
    typed = [
        "<script>alert(1)</script>",
        "' OR 1=1 --",
        '" autofocus onfocus=alert(1) x="',
        "1e3",
        "9" * 40,
        "a\x00b",
        "٣",
        "é" * 500,
        "-1",
    ]

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        for text in typed:
            for path, name in (("users", "id"), ("tracks", "q")):
                page = await client.get(f"{HERE}/console/{path}", params={name: text})
                assert page.status_code in {200, 422}
                assert "cannot be shown" not in said(page, page.status_code).lower()
        said(await client.get(f"{HERE}/console/tracks/abc"), 422)

    with_client(published.stores, published.home, ask)


@pytest.fixture
def nowhere() -> Iterator[int]:
    """A port on which connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()[1]


def test_with_a_store_down_or_silent_pages_tell_what_they_cannot_show(
    published: Published, nowhere: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "WITHIN", 1.0)
    cache = published.stores.cache
    refused = Warehouse(url="postgresql://127.0.0.1:1/x", namespace="t")
    silent = Warehouse(url=f"postgresql://127.0.0.1:{nowhere}/x", namespace="t")
    no_redis = Cache(url="redis://127.0.0.1:1", namespace=NAMESPACE)

    def asking(lacks: list[str], there: list[str]) -> None:
        async def ask(client: httpx.AsyncClient, api: Api) -> None:
            del api
            pages = await asyncio.gather(*(client.get(f"{HERE}{path}") for path in PAGES[:-1]))
            first, *others = map(said, pages)
            for one in lacks:
                assert one in first
            for one in there:
                assert one in first
            assert others

        with_client(stores, published.home, ask, ready=lambda api: api.refresher.from_redis())

    for warehouse in (refused, silent):
        stores = replace(published.stores, warehouse=warehouse, cache=cache)
        lack = "Postgres does not answer" if warehouse is refused else "Postgres takes too long"
        asking([lack, "warehouse ? not known"], ["everybody"])
    stores = replace(published.stores, cache=no_redis)
    asking(["Redis does not answer critical", "serve ✕ wrong"], ["Model versions", "champion"])


def test_a_table_that_cannot_be_read_in_time_takes_nothing_else_from_the_page(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "STATEMENT_SECONDS", 0.2)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        with published.stores.warehouse.connect() as connection:
            connection.execute("LOCK TABLE quarantine, tracks IN ACCESS EXCLUSIVE MODE")
            first, found, user = await asyncio.gather(
                *(client.get(f"{HERE}{path}") for path in ("/", PAGES[4], PAGES[2]))
            )
        told = said(first)
        assert "Quarantine ▲ Cannot be shown in time" in told
        assert "champion" in told
        assert "Postgres needs more than 0.2 s for it" in said(found)
        assert "because they heard" in said(user)

    with_client(published.stores, published.home, ask)


def test_before_the_first_run_the_pages_say_what_is_to_be_done(
    warehouse: Warehouse, valkey: redis.Redis, published: Published
) -> None:
    valkey.flushall()

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        told = said(await client.get(f"{HERE}/"))
        assert "There is no model yet. moovitamix run trains one." in told
        assert "Redis holds no lists" in told
        assert "Nothing does" in told
        assert told.count("? not known") == 4
        for path in PAGES[1:]:
            said(await client.get(f"{HERE}{path}"))

    with_client(replace(published.stores, warehouse=warehouse), published.home, ask)


def test_nothing_of_it_is_imported_before_somebody_opens_it() -> None:
    program = (
        "import json, sys, moovitamix.serve.http.console.routes;"
        "print(json.dumps([one for one in sys.modules if 'jinja2' in one or '.console.' in one]))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(told.stdout) == ["moovitamix.serve.http.console.routes"]


def test_files_are_sent_to_be_kept_and_others_are_not_there(
    published: Published, valkey: redis.Redis
) -> None:
    assert valkey

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        page = await client.get(f"{HERE}/console/users")
        sheet = re.search(r'href="(/console/static/style\.css\?v=\w+)"', page.text)
        assert sheet is not None
        kept = await client.get(f"{HERE}{sheet[1]}")
        assert kept.status_code == 200
        assert "immutable" in kept.headers["cache-control"]
        assert (await client.get(f"{HERE}/console/static/console.py")).status_code == 404

    with_client(published.stores, published.home, ask)
