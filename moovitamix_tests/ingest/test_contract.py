"""The contract takes what keeps it, rejects what breaks it, and says why without quoting it."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moovitamix.errors import SourceContractError
from moovitamix.ingest.contract import ENDPOINTS, LISTENS, TRACKS, USERS, Endpoint, decode_page
from moovitamix_tests.ingest.pulling import NOON, a_listen, a_track, a_user
from moovitamix_tests.reference_source import Record

GOOD: dict[str, Record] = {
    "tracks": a_track(1, NOON),
    "users": a_user(1, NOON),
    "listen_history": a_listen(1, [1, 2], NOON),
}


def page_of(*records: Any, total: Any = None) -> bytes:
    return msgspec.json.encode(
        {"items": records, "total": len(records) if total is None else total}
    )


# Endpoint, field, a value that breaks the contract, and what the reason says.
BROKEN: list[tuple[Endpoint, str, Any, str]] = [
    (LISTENS, "user_id", None, "got `null`"),
    (LISTENS, "items", None, "got `null`"),
    (LISTENS, "items", [1, None], "got `null`"),
    (LISTENS, "items", [2**63], "<= 9223372036854775807"),
    (LISTENS, "user_id", 2**63, "<= 9223372036854775807"),
    (LISTENS, "user_id", True, "got `bool`"),
    (TRACKS, "id", -(2**63) - 1, ">= -9223372036854775808"),
    (TRACKS, "id", "7013", "got `str`"),
    (TRACKS, "id", 1.5, "got `float`"),
    (TRACKS, "created_at", "2026-02-30T00:00:00", "datetime"),
    (TRACKS, "updated_at", "yesterday", "datetime"),
    (TRACKS, "created_at", "2026-11-20T00:00:00Z", "no timezone"),
    (TRACKS, "created_at", 1_795_000_000, "got `int`"),
    (TRACKS, "duration", "3.5", "regex"),
    (TRACKS, "duration", "03:60", "regex"),
    (TRACKS, "duration", "03:30\n", "regex"),
    (TRACKS, "duration", "-1:30", "regex"),
    (TRACKS, "name", None, "got `null`"),
    (TRACKS, "name", "a\x00b", "regex"),
    (TRACKS, "name", "n" * 1_000_000, "length <= 10000"),
    (USERS, "email", "mallory@example.org\x00", "regex"),
    (USERS, "gender", None, "got `null`"),
]


@pytest.mark.parametrize(("endpoint", "field", "value", "reason"), BROKEN)
def test_a_broken_value_rejects_its_record_with_field_and_reason_and_no_other(
    endpoint: Endpoint, field: str, value: Any, reason: str
) -> None:
    good = GOOD[endpoint.name]
    broken = good | {field: value}
    page = decode_page(endpoint, page_of(good, broken, good), where="the page")
    assert len(page.records) == 2
    (rejected,) = page.rejected
    assert rejected.field == field
    assert reason in rejected.reason
    assert rejected.payload == msgspec.json.encode(broken)
    assert page.length == 3


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_each_missing_field_is_named(endpoint: Endpoint) -> None:
    for field in endpoint.schema:
        record = {name: value for name, value in GOOD[endpoint.name].items() if name != field}
        page = decode_page(endpoint, page_of(record), where="the page")
        assert [rejected.field for rejected in page.rejected] == [field]


@pytest.mark.parametrize("record", [None, 5, "text", [], [1, 2], True])
def test_an_item_that_is_no_record_is_rejected(record: Any) -> None:
    page = decode_page(TRACKS, page_of(record, GOOD["tracks"]), where="the page")
    assert (len(page.records), len(page.rejected)) == (1, 1)


def test_a_record_that_is_not_utf8_is_rejected_alone() -> None:
    body = page_of(GOOD["users"], GOOD["users"] | {"last_name": "?"}).replace(b"?", b"\xff")
    page = decode_page(USERS, body, where="the page")
    assert (len(page.records), len(page.rejected)) == (1, 1)
    assert b"\xff" in page.rejected[0].payload


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_a_field_beyond_the_contract_changes_neither_record_nor_hash(endpoint: Endpoint) -> None:
    good = GOOD[endpoint.name]
    more = {"popularity": {"deep": [1, None]}} | dict(reversed(good.items()))
    plain, extended = (
        endpoint.frame(decode_page(endpoint, page_of(record), where="the page").records)
        for record in (good, more)
    )
    assert extended.equals(plain)
    assert plain.columns == [*endpoint.schema, "sha256"]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_any_changed_field_changes_the_hash(endpoint: Endpoint) -> None:
    good = GOOD[endpoint.name]
    changed = {int: 9, str: "Other", list: [2, 1]}
    for field, value in good.items():
        other = changed[type(value)]
        if field in {"created_at", "updated_at"}:
            other = "2026-11-20T10:00:00"
        elif field == "duration":
            other = "00:01"
        page = decode_page(endpoint, page_of(good, good | {field: other}), where="the page")
        assert endpoint.frame(page.records)["sha256"].n_unique() == 2, field


def test_a_page_that_is_mostly_broken_says_that_the_source_has_changed() -> None:
    records = [GOOD["tracks"]] * 4 + [GOOD["tracks"] | {"duration": 210}] * 6
    with pytest.raises(SourceContractError, match="6 of 10 records on the page break") as raised:
        decode_page(TRACKS, page_of(*records), where="the page")
    assert "`duration`" in str(raised.value)


def test_a_page_that_is_half_broken_or_very_short_is_bad_luck() -> None:
    broken = GOOD["tracks"] | {"duration": 210}
    half = decode_page(TRACKS, page_of(*[GOOD["tracks"], broken] * 5), where="the page")
    short = decode_page(TRACKS, page_of(*[broken] * 9), where="the page")
    assert (len(half.rejected), len(short.rejected)) == (5, 9)


NO_PAGES = [
    b"",
    b"<html>Bad gateway</html>",
    b"null",
    b"[]",
    b'{"detail":"Not Found"}',
    b'{"items":null,"total":1}',
    b'{"items":{},"total":1}',
    b'{"items":[],"total":-1}',
    b'{"items":[],"total":"many"}',
    b'{"items":[],"total":1',
    b"\xff\xfe",
    b'{"items":[],"total":1,"nested":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
]


@pytest.mark.parametrize("body", NO_PAGES, ids=range(len(NO_PAGES)))
def test_what_is_no_page_says_so_and_names_the_address(body: bytes) -> None:
    with pytest.raises(SourceContractError, match="the page did not answer with a page") as raised:
        decode_page(TRACKS, body, where="the page")
    assert "MOOVITAMIX_SOURCE_URL" in str(raised.value)


def test_an_empty_page_is_a_page() -> None:
    assert decode_page(TRACKS, b'{"items":[],"total":0}', where="the page").length == 0


SECRET = "mallory.núñez@example.org"


@given(field=st.sampled_from(sorted(GOOD["users"])), shape=st.sampled_from(["text", "list", "map"]))
def test_a_reason_never_quotes_the_value(field: str, shape: str) -> None:
    value: Any = {"text": f"{SECRET}\x00", "list": [SECRET], "map": {SECRET: SECRET}}[shape]
    page = decode_page(USERS, page_of(GOOD["users"] | {field: value}), where="the page")
    (rejected,) = page.rejected
    assert SECRET not in f"{rejected.field} {rejected.reason}"
    assert "mallory" not in f"{rejected.field} {rejected.reason}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
RECORD = st.sampled_from(ENDPOINTS).flatmap(
    lambda endpoint: st.fixed_dictionaries(
        {}, optional=dict.fromkeys(endpoint.schema, JSON | st.just("2026-11-20T10:00:00"))
    )
)


@given(
    endpoint=st.sampled_from(ENDPOINTS),
    body=st.one_of(
        st.binary(max_size=200),
        JSON.map(msgspec.json.encode),
        st.lists(RECORD | JSON, max_size=14).map(lambda items: page_of(*items)),
    ),
)
@example(endpoint=LISTENS, body=b'{"items":[' + b"[" * 3_000 + b"]" * 3_000 + b'],"total":1}')
@example(endpoint=TRACKS, body=b'{"items":[{"name":"\\ud800"}],"total":1}')
def test_whatever_the_source_answers_is_a_page_or_a_contract_error(
    endpoint: Endpoint, body: bytes
) -> None:
    with contextlib.suppress(SourceContractError):
        page = decode_page(endpoint, body, where="the page")
        frame = endpoint.frame(page.records)
        assert frame.height + len(page.rejected) == page.length
