"""Keys are kept as hashes, let in who has one, and can be changed while the API runs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from moovitamix.cli import cli
from moovitamix.errors import NothingToDo, SettingsError
from moovitamix.serve.http.app import Api
from moovitamix.serve.http.gate import Limits
from moovitamix.serve.http.keys import (
    ApiKey,
    KeyStore,
    add_key,
    make_key,
    parse_keys,
    recognize,
    remove_keys,
)
from moovitamix.serve.http.limits import TokenBucket
from moovitamix_tests.serve.http.serving import Published, with_client

PATH = "/tracks/popular?limit=1"


def test_a_key_is_recognized_and_is_nowhere_in_its_entry() -> None:
    secret, key = make_key("app", "read")
    other, another = make_key("app", "write", 5)
    assert len(secret) > 40
    assert secret not in key.entry()
    known = parse_keys(f"# ours\n{key.entry()}, {another.entry()}\n")
    assert recognize(known, secret) == key
    assert recognize(known, other) == another
    assert another.per_second == 5
    for wrong in ("", secret[:-1], secret + "x", key.digest, "ключ"):
        assert recognize(known, wrong) is None


@pytest.mark.parametrize(
    "entry", ["app", "app:read", "app:all:" + "0" * 64, "app:read:123", f"app:read:{'0' * 64}:-1"]
)
def test_an_entry_that_is_none_is_refused_and_not_repeated(entry: str) -> None:
    with pytest.raises(SettingsError, match="Entry 1") as refused:
        parse_keys(entry)
    assert entry not in str(refused.value)


def in_force(store: KeyStore) -> list[ApiKey] | None:
    return None if store.keys is None else list(store.keys)


def test_keys_in_a_file_are_read_again_and_what_was_closed_stays_closed(tmp_path: Path) -> None:
    store = KeyStore(None, tmp_path)
    assert in_force(store) is None
    _, first = make_key("app", "read")
    path = tmp_path / "api-keys"
    add_key(path, first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert store.reload()
    assert in_force(store) == [first]
    assert not store.reload()
    _, second = make_key("app", "read")
    add_key(path, second)
    assert store.reload()
    assert in_force(store) == [first, second]
    path.write_text("nonsense")
    with pytest.raises(SettingsError):
        store.reload()
    assert in_force(store) == [first, second]
    path.unlink()
    assert not store.reload()
    assert in_force(store) == [first, second]


def test_one_of_several_keys_is_revoked(tmp_path: Path) -> None:
    path = tmp_path / "api-keys"
    _, first = make_key("app", "read")
    _, second = make_key("app", "read")
    add_key(path, first)
    add_key(path, second)
    assert remove_keys(path, "app", first.digest[:8]) == 1
    assert KeyStore(str(path), tmp_path).keys == (second,)
    with pytest.raises(NothingToDo):
        remove_keys(path, "other")
    assert remove_keys(path, "app") == 1
    assert KeyStore(str(path), tmp_path).keys == ()


def test_a_file_that_is_named_and_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="keys create"):
        KeyStore(str(tmp_path / "nowhere"), tmp_path)


def test_who_has_a_key_is_let_in_by_either_header_and_others_are_not(published: Published) -> None:
    secret, key = make_key("app", "read")

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        for headers in ({"Authorization": f"Bearer {secret}"}, {"X-API-Key": secret}):
            assert (await client.get(PATH, headers=headers)).status_code == 200
        for headers in ({}, {"X-API-Key": "mvx_wrong"}, {"Authorization": f"Basic {secret}"}):
            refused = await client.get(PATH, headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["title"] == "Unauthorized"
        assert (await client.get("/metrics")).status_code == 401
        for path in ("/health/live", "/health/ready", "/docs", "/openapi.json"):
            assert (await client.get(path)).status_code == 200
        writing = await client.post("/listens", headers={"X-API-Key": secret}, json={})
        assert writing.status_code == 403

    with_client(published.stores, published.home, ask, keys=key.entry())


def test_an_empty_file_of_keys_lets_nobody_in(published: Published) -> None:
    published.home.mkdir(parents=True)
    (published.home / "api-keys").write_text("")

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        assert (await client.get(PATH)).status_code == 401

    with_client(published.stores, published.home, ask)


def test_a_key_that_has_used_up_its_requests_waits_and_others_do_not(published: Published) -> None:
    (secret, key), (quick, quick_key) = make_key("app", "read"), make_key("quick", "read", 50)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        now = 0.0
        api.app.admission.clock = lambda: now
        headers = {"X-API-Key": secret}
        answers = [await client.get(PATH, headers=headers) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 4 + [429]
        assert [answer.headers["ratelimit"] for answer in answers] == [
            f'"default";r={left};t=1' for left in (3, 2, 1, 0, 0)
        ]
        assert answers[-1].headers["retry-after"] == "1"
        assert answers[-1].headers["content-type"] == "application/problem+json"
        assert (await client.get(PATH, headers={"X-API-Key": quick})).status_code == 200
        now = 1.0
        assert (await client.get(PATH, headers=headers)).status_code == 200

    with_client(
        published.stores,
        published.home,
        ask,
        keys=f"{key.entry()},{quick_key.entry()}",
        limits=Limits(per_second=2),
    )


def test_a_bucket_fills_up_to_its_burst_and_says_when_there_is_more() -> None:
    now = 0.0
    bucket = TokenBucket(0.5, lambda: now)
    assert bucket.take()
    assert not bucket.take()
    assert bucket.retry_after == 2
    now = 1_000.0
    assert bucket.take()
    assert not bucket.take()


def test_keys_are_made_listed_and_revoked_by_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    open_ = run.invoke(cli, ["keys", "list"])
    assert "the API is open" in open_.output
    made = run.invoke(cli, ["keys", "create", "app", "--scope", "write"])
    secret = made.output.split()[0]
    path = Path(os.environ["MOOVITAMIX_HOME"]) / "api-keys"
    (kept,) = parse_keys(path.read_text())
    assert recognize((kept,), secret) == kept
    assert secret not in path.read_text()
    listed = run.invoke(cli, ["keys", "list"]).output
    assert "app" in listed
    assert "write" in listed
    assert kept.digest not in listed
    assert run.invoke(cli, ["keys", "revoke", "app"]).output == "Revoked 1 of app.\n"
    assert parse_keys(path.read_text()) == ()


def test_a_lock_lets_nobody_in_until_the_first_key_and_changes_nothing_where_there_is_one(
    tmp_path: Path,
) -> None:
    serving = KeyStore(None, tmp_path / "home")
    serving.lock()
    locked = serving.keys
    assert locked == ()
    assert stat.S_IMODE((tmp_path / "home" / "api-keys").stat().st_mode) == 0o600
    _, key = make_key("app", "read")
    add_key(tmp_path / "home" / "api-keys", key)
    assert serving.reload()
    assert serving.keys == (key,)
    KeyStore(None, tmp_path / "home").lock()
    assert KeyStore(None, tmp_path / "home").keys == (key,)
    configured = KeyStore(key.entry(), tmp_path / "other")
    configured.lock()
    assert configured.keys == (key,)
    assert not (tmp_path / "other").exists()


def test_without_keys_the_api_is_not_opened_to_others(tmp_path: Path) -> None:
    del tmp_path
    refused = CliRunner().invoke(cli, ["serve", "--host", "0.0.0.0"])  # noqa: S104 - is refused
    assert isinstance(refused.exception, SettingsError)
    assert "moovitamix keys create" in str(refused.exception)
