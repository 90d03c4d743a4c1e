"""Every answer can be told from others, has its bounds, is counted, and says nothing of anybody."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from moovitamix.observe.logs.gelf import Entry
from moovitamix.serve.codec import encode_list
from moovitamix.serve.generations import current_key, key_of
from moovitamix.serve.http.access import AccessLog
from moovitamix.serve.http.admission import Admission
from moovitamix.serve.http.app import Api
from moovitamix.serve.http.asking import Ask, read_query
from moovitamix.serve.http.gate import Gate, Limits
from moovitamix.serve.http.keys import KeyStore, make_key
from moovitamix.serve.http.problems import ProblemError
from moovitamix.serve.http.routes import PARAMETERS, RECOMMENDATIONS
from moovitamix.serve.http.time_limit import TimeLimit
from moovitamix_tests.serve.http.serving import Published, with_client
from moovitamix_tests.serve.world import NAMESPACE

LIST = "/users/5/recommendations"


def test_ids_of_requests_are_passed_on_or_given(published: Published) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        sent = await client.get(LIST, headers={"X-Request-Id": "abc-1.2_3"})
        assert sent.headers["x-request-id"] == "abc-1.2_3"
        given = {
            (await client.get(path, headers={"X-Request-Id": "no\tgood" * 20})).headers[
                "x-request-id"
            ]
            for path in (LIST, LIST, "/nowhere", "/health/live")
        }
        assert len(given) == 4

    with_client(published.stores, published.home, ask)


LISTEN = '{"user_id": 5, "items": [120], "created_at": "2026-11-20T09:00:00"}'


@pytest.mark.parametrize(
    ("headers", "answered"),
    [
        ({}, True),
        ({"Host": "127.0.0.1:8000"}, True),
        ({"Host": "[::1]:8000"}, True),
        ({"Host": "LOCALHOST", "Origin": "http://localhost:3000"}, True),
        ({"Host": "rebound.example"}, False),
        ({"Host": "rebound.example:8000", "Origin": "http://rebound.example:8000"}, False),
        ({"Host": "10.0.0.5"}, False),
        ({"Host": ""}, False),
        ({"Host": "127.0.0.1.rebound.example"}, False),
        ({"Host": "[bad"}, False),
        ({"Origin": "https://page.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://localhost@page.example"}, False),
    ],
)
def test_without_keys_only_this_machine_and_its_own_pages_are_answered(
    published: Published, headers: dict[str, str], answered: bool
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        read = await client.get(LIST, headers=headers)
        plain = {**headers, "Content-Type": "text/plain"}  # what a page may send unasked
        told = await client.post("/listens", content=LISTEN, headers=plain)
        health = await client.get("/health/ready", headers=headers)
        assert health.status_code == 200
        assert api.metrics is not None
        refused = api.metrics.registry.get_sample_value(
            "moovitamix_http_refused_total", {"reason": "origin"}
        )
        if answered:
            assert read.status_code == 200
            assert told.status_code == 422  # a field is missing: it came to be read
            assert refused == 0
            return
        assert {read.status_code, told.status_code} == {403}
        assert "moovitamix keys create" in read.json()["detail"]
        assert refused == 2

    with_client(published.stores, published.home, ask)


def test_with_keys_it_does_not_matter_by_which_name_one_asks(published: Published) -> None:
    secret, key = make_key("app", "read")
    headers = {"X-API-Key": secret, "Host": "api.example", "Origin": "https://page.example"}

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        assert (await client.get(LIST, headers=headers)).status_code == 200

    with_client(published.stores, published.home, ask, keys=key.entry())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", LIST, 405),
        ("DELETE", "/health/live", 405),
        ("GET", "/users/x/recommendations", 422),
        ("GET", f"/users/{1 << 63}/recommendations", 422),
        ("GET", f"{LIST}?limit=0", 422),
        ("GET", f"{LIST}?limit=5&limit=6", 422),
        ("GET", f"{LIST}?genre=", 422),
        ("GET", f"{LIST}?genre=nonsense", 404),
        ("GET", f"{LIST}?repeats=maybe", 422),
        ("GET", f"{LIST}?exclude=1,x", 422),
        ("GET", f"{LIST}?exclude={','.join(['1'] * 1001)}", 422),
    ],
)
def test_every_error_is_a_problem_that_says_what_to_do(
    published: Published, method: str, path: str, status: int
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        answer = await client.request(method, path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert (told["status"], told["type"]) == (status, "about:blank")
        assert told["detail"]
        assert "x-request-id" in answer.headers
        if status == 405:
            assert "GET" in answer.headers["allow"]

    with_client(published.stores, published.home, ask)


def test_all_parameters_at_fault_are_named_at_once() -> None:
    with pytest.raises(ProblemError) as refused:
        read_query(b"limit=x&per_artist=0&unknown=1", PARAMETERS[RECOMMENDATIONS])
    assert [error["parameter"] for error in refused.value.errors] == ["limit", "per_artist"]
    assert read_query(b"unknown=1", PARAMETERS[RECOMMENDATIONS]) == Ask()


def test_a_fault_is_told_without_its_message_or_trace(
    published: Published, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("secret of user 5")

        api.tiers._picker = fail  # type: ignore[method-assign,assignment]
        with caplog.at_level(logging.ERROR):
            answer = await client.get("/tracks/popular")
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"] in caplog.text

    with_client(published.stores, published.home, ask)


def call(gate: Gate, body: list[bytes], headers: list[tuple[bytes, bytes]]) -> list[Any]:
    """What a gate sends for a POST whose body comes in pieces."""
    pieces = iter(body)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": next(pieces), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/x", "headers": headers}
    asyncio.run(gate(scope, receive, send))
    return sent


async def taking(scope: Any, receive: Any, send: Any) -> None:
    """An application that reads whatever is sent."""
    del scope, send
    while True:
        await receive()


@pytest.mark.parametrize("headers", [[(b"content-length", b"11")], []])
def test_who_sends_too_much_is_refused_whether_they_say_so_or_not(
    headers: list[tuple[bytes, bytes]], tmp_path: Any
) -> None:
    gate = Gate(taking, Admission(KeyStore(None, tmp_path), None, None), Limits(body_bytes=10))
    head, body = call(gate, [b"12345", b"67890", b"1"], headers)
    assert head["status"] == 413
    assert b"at most 10 bytes" in body["body"]


def test_what_takes_too_long_is_given_up(tmp_path: Any) -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive, send
        await asyncio.Event().wait()

    gate = Gate(
        TimeLimit(never, 0.001, None), Admission(KeyStore(None, tmp_path), None, None), Limits()
    )
    head, _ = call(gate, [], [])
    assert head["status"] == 503
    assert (b"retry-after", b"1") in head["headers"]


def test_the_access_log_tells_of_a_user_only_by_a_hash(published: Published) -> None:
    stream = io.StringIO()
    sent: list[Entry] = []

    class Sent:
        def send(self, entry: Entry) -> None:
            sent.append(entry)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        log = api.app.access = AccessLog(stream, post=Sent())
        for path in ("/users/51772/recommendations?exclude=123456", LIST, LIST, "/tracks/popular"):
            await client.get(path)
        log.close()

    with_client(published.stores, published.home, ask)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 4
    assert "51772" not in stream.getvalue()
    assert "123456" not in stream.getvalue()
    assert lines[0]["user"] != lines[1]["user"] == lines[2]["user"]
    assert "user" not in lines[3]
    assert lines[1]["route"] == RECOMMENDATIONS
    assert (lines[1]["status"], lines[1]["tier"]) == (200, "cached top-N")
    assert lines[1]["generation"].startswith("v")
    assert lines[0]["generation"] == lines[1]["generation"]
    # A server for logs is told the same.
    for line, entry in zip(lines, sent, strict=True):
        told = {name: line.get(name) for name in ("request_id", "route", "user", "generation")}
        assert {name: entry.fields.get(name) for name in told} == told


def test_the_access_log_can_be_read_by_people(published: Published) -> None:
    stream = io.StringIO()

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        log = api.app.access = AccessLog(stream, form="text")
        await client.get(LIST, headers={"X-Request-Id": "mine"})
        log.close()

    with_client(published.stores, published.home, ask)
    (line,) = stream.getvalue().splitlines()
    assert f" 200 GET    {RECOMMENDATIONS} " in line
    assert " ms cached top-N  user=" in line
    assert line.endswith(" key=anonymous id=mine")


def sample(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if not one.name.endswith("_created")
    }


def test_every_metric_moves(published: Published, valkey: redis.Redis) -> None:
    secret, key = make_key("app", "read")
    headers = {"X-API-Key": secret}
    name = valkey.get(current_key(NAMESPACE))
    assert isinstance(name, bytes)

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        async def figures() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
            return sample((await client.get("/metrics", headers=headers)).text)

        before = await figures()
        await client.get(LIST, headers=headers)
        valkey.set(key_of(NAMESPACE, name.decode(), "u", 6), encode_list(*_TWO)[:-1], keepttl=True)
        await client.get("/users/6/recommendations", headers=headers)
        await client.get("/users/999/recommendations", headers=headers)
        await client.get("/anything/that/somebody/types", headers=headers)
        await client.get(LIST)
        api.refresher._watcher.refresh_failed("names")
        api.freshener.told(range(1, 71))  # more than are folded in at once
        await asyncio.to_thread(api.freshener.work)
        api.freshener._listener.fold_in_failed()
        for _ in range(2):
            api.reader._observer.store_failed("redis")
            api.reader.breaker.failed()
        after = await figures()
        moved = {family for (family, _), value in after.items() if value != 0}
        families = {family for family, _ in after}
        assert families - moved == set()
        assert families == {
            "moovitamix_http_requests_total",
            *(f"moovitamix_http_request_duration_seconds_{end}" for end in _HISTOGRAM),
            "moovitamix_http_refused_total",
            "moovitamix_cache_reads_total",
            *(f"moovitamix_cache_batch_keys_{end}" for end in _HISTOGRAM),
            "moovitamix_store_failures_total",
            "moovitamix_store_breaker_state",
            "moovitamix_snapshot_timestamp_seconds",
            "moovitamix_snapshot_failures_total",
            "moovitamix_fold_ins_total",
            *(f"moovitamix_fold_in_seconds_{end}" for end in _HISTOGRAM),
            "moovitamix_fold_in_failures_total",
            "moovitamix_fold_ins_waiting",
        }
        for result in ("hit", "miss", "damaged"):
            label = ("moovitamix_cache_reads_total", (("result", result),))
            assert after[label] > before.get(label, 0), result
        assert after["moovitamix_store_breaker_state", (("store", "redis"),)] == 2
        refused = ("moovitamix_http_refused_total", (("reason", "key"),))
        assert after[refused] == 1
        # Nothing that somebody types becomes a label.
        assert not [labels for _, labels in after if "somebody" in str(labels)]

    with_client(published.stores, published.home, ask, keys=key.entry())


_HISTOGRAM = ("bucket", "count", "sum")
_TWO = (np.array([1, 2]), np.array([0.5, 0.25]))
