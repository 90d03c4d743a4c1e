"""Who is let in, for how long, and whose forms are taken."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.ingest.lake import LakeStore
from moovitamix.serve.http.app import Api
from moovitamix.serve.http.console.origin import is_named_locally, is_ours, is_secure
from moovitamix.serve.http.console.sessions import COOKIE, LASTS, recall, session_secret, sign
from moovitamix.serve.http.keys import ApiKey, add_key, make_key, remove_keys
from moovitamix_tests.serve.http.console.reading import said
from moovitamix_tests.serve.http.serving import Published, with_client

ELSEWHERE = "http://music.example:8000"
SECRET = bytes(range(32))
KEYS = tuple(make_key(name, "read")[1] for name in ("one", "two", "three"))
NOW = 1_800_000_000.0
AT_HOME = {"Origin": ELSEWHERE}


@given(st.sampled_from(KEYS), st.floats(0, LASTS.total_seconds() - 2))
def test_a_session_is_recalled_until_it_ends_and_while_its_key_is_in_force(
    key: ApiKey, later: float
) -> None:
    cookie = sign(SECRET, key, NOW)
    assert recall(SECRET, cookie, KEYS, NOW + later) == key
    assert recall(SECRET, cookie, KEYS, NOW + LASTS.total_seconds()) is None
    others = [one for one in KEYS if one != key]
    assert recall(SECRET, cookie, others, NOW) is None
    assert recall(bytes(32), cookie, KEYS, NOW) is None


@given(st.sampled_from(KEYS), st.integers(0, 200), st.sampled_from("0123456789abcdef.é٣ -"))
def test_a_cookie_of_which_anything_was_changed_is_none(
    key: ApiKey, place: int, other: str
) -> None:
    cookie = sign(SECRET, key, NOW)
    place %= len(cookie)
    changed = cookie[:place] + other + cookie[place + 1 :]
    assert changed == cookie or recall(SECRET, changed, KEYS, NOW) is None
    assert recall(SECRET, cookie[:place], KEYS, NOW) is None


def test_what_signs_is_made_once_and_is_the_same_for_all(lake: LakeStore) -> None:
    found = session_secret(lake)
    assert len(found) == 32
    assert session_secret(LakeStore(lake.url)) == found


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"sec-fetch-site": "same-origin", "host": "a"}, True),
        ({"sec-fetch-site": "same-site", "origin": "http://a", "host": "a"}, False),
        ({"sec-fetch-site": "cross-site", "host": "a"}, False),
        ({"sec-fetch-site": "none", "host": "a"}, False),
        ({"origin": "http://A:8000", "host": "a:8000"}, True),
        ({"origin": "http://a:8000", "host": "a:8001"}, False),
        ({"origin": "http://b", "host": "a"}, False),
        ({"origin": "null", "host": "a"}, False),
        ({"origin": "null", "host": ""}, False),
        ({"host": "a"}, False),
        ({}, False),
    ],
)
def test_a_form_is_ours_only_when_the_browser_says_so(headers: dict[str, str], ours: bool) -> None:
    assert is_ours(headers) is ours


@pytest.mark.parametrize(
    ("host", "locally"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("[::1]:8000", True),
        ("127.0.0.1.example.org", False),
        ("evil.example:8000", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_this_machine_is_known_by_its_names(host: str, locally: bool) -> None:
    assert is_named_locally({"host": host}) is locally
    assert not is_named_locally({})
    assert is_secure({"x-forwarded-proto": "https"}, "http")
    assert not is_secure({}, "http")


async def sign_in(client: httpx.AsyncClient, secret: str, back: str = "/") -> httpx.Response:
    return await client.post(
        "/console/sign-in", data={"key": secret, "back": back}, headers=AT_HOME
    )


def test_a_key_opens_the_pages_until_it_is_revoked_and_is_kept_nowhere(
    published: Published, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret, key = make_key("ops", "read")
    path = published.home / "api-keys"
    add_key(path, key)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        client.base_url = httpx.URL(ELSEWHERE)
        for closed in ("/", "/console/users?id=5", "/console/tracks/102", "/console/rollback"):
            page = await client.get(closed)
            assert page.status_code == 303
            assert page.headers["location"].startswith("/console/sign-in?back=")
            assert not page.content
        deep = await client.get("/console/users?id=5", follow_redirects=True)
        assert 'name="back" value="/console/users?id=5"' in deep.text
        assert "no key that is in force" in said(await sign_in(client, "mvx_wrong"), 401)
        foreign = await sign_in(client, secret, back="https://evil.example/")
        assert foreign.headers["location"] == "/"
        entered = await sign_in(client, secret, back="/console/users?id=5")
        assert entered.status_code == 303
        assert entered.headers["location"] == "/console/users?id=5"
        cookie = entered.headers["set-cookie"]
        for wanted in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
            assert wanted in cookie
        assert "Secure" not in cookie
        page = await client.get("/console/users?id=5")
        assert "because they heard" in said(page)
        assert "Key ops, may read" in page.text
        # A session opens the pages, not the API: what the app may do takes a key.
        assert (await client.get("/users/5/recommendations")).status_code == 401
        assert secret not in cookie + page.text + caplog.text
        assert key.digest not in cookie + page.text + caplog.text
        rollback = await client.post("/console/rollback", data={"seen": "1"}, headers=AT_HOME)
        assert "takes a key of scope admin" in said(rollback, 403)
        out = await client.post("/console/sign-out", headers=AT_HOME)
        assert out.headers["set-cookie"].startswith(f'{COOKIE}=""')
        assert (await client.get("/")).status_code == 303
        await sign_in(client, secret)
        assert (await client.get("/")).status_code == 200
        secured = await client.post(
            "/console/sign-in",
            data={"key": secret},
            headers={**AT_HOME, "X-Forwarded-Proto": "https"},
        )
        assert "Secure" in secured.headers["set-cookie"]
        assert (
            await client.get("/")
        ).status_code == 303  # the browser keeps it from us, without TLS
        client.cookies.clear()
        await sign_in(client, secret)
        remove_keys(path, "ops")
        assert api.app.admission.keys.reload()
        assert (await client.get("/")).status_code == 303

    with_client(published.stores, published.home, ask)


def test_forms_of_other_sites_are_refused_and_too_long_ones_not_read(published: Published) -> None:
    secret, key = make_key("ops", "admin")

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        client.base_url = httpx.URL(ELSEWHERE)
        await sign_in(client, secret)
        for headers in ({}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
            for path in ("/console/sign-in", "/console/sign-out", "/console/rollback"):
                page = await client.post(path, data={"key": secret, "seen": "1"}, headers=headers)
                assert "sent from elsewhere" in said(page, 403)
                assert "set-cookie" not in page.headers
        long = await sign_in(client, secret, back="/console/" + "x" * 20_000)
        assert long.status_code == 401
        assert (await client.post("/", headers=AT_HOME)).status_code == 405

    with_client(published.stores, published.home, ask, keys=key.entry())


def test_without_keys_only_this_machine_is_let_in_by_its_name(published: Published) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        for path in ("/", "/console/users?id=5"):
            refused = await client.get(f"http://rebound.example:8000{path}")
            assert "to this machine alone" in said(refused, 403)
            said(await client.get(f"http://localhost:8000{path}"))
        entrance = await client.get("http://localhost:8000/console/sign-in")
        assert entrance.headers["location"] == "/"

    with_client(published.stores, published.home, ask)


def test_a_lake_that_cannot_be_written_is_told_where_one_signs_in(
    published: Published, tmp_path: Path
) -> None:
    secret, key = make_key("ops", "read")
    lake = published.stores.lake.open()
    name = "console/session-secret"
    kept = lake.read_bytes(name) if lake.exists(name) else None
    folder = Path(lake.url.removeprefix("file://")) / "console"
    if kept is not None:
        lake.remove(name)
    if folder.exists():
        folder.rmdir()
    folder.touch()  # a file where a folder has to be

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        client.base_url = httpx.URL(ELSEWHERE)
        assert "The lake does not answer" in said(await sign_in(client, secret), 503)

    try:
        with_client(published.stores, tmp_path / "home", ask, keys=key.entry())
    finally:
        folder.unlink()
