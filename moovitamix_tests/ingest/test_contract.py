"""The contract takes what keeps it, rejects what breaks it, and says why without quoting it."""

from __future__ import annotations

import contextlib
import hashlib
from datetime import datetime, timedelta
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moovitamix.errors import SourceContractError
from moovitamix.ingest.contract import (
    EARLIEST,
    ENDPOINTS,
    LATEST,
    LISTENS,
    TRACKS,
    USERS,
    Endpoint,
)
from moovitamix.ingest.decode import decode_page
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
    (LISTENS, "items", [1] * 32_001, "length <= 32000"),
    (TRACKS, "duration", "3.5", "regex"),
    (TRACKS, "duration", "٣:20", "regex"),
    (TRACKS, "duration", "3:२०", "regex"),
    (TRACKS, "duration", "03:60", "regex"),
    (TRACKS, "duration", "03:30\n", "regex"),
    (TRACKS, "duration", "-1:30", "regex"),
    (TRACKS, "name", None, "got `null`"),
    (TRACKS, "name", "a\x00b", "regex"),
    (TRACKS, "name", "n" * 1_000_000, "length <= 10000"),
    (TRACKS, "genres", "Jazz," + "g" * 201, "regex"),
    (TRACKS, "genres", "Jazz\x00", "regex"),
    (TRACKS, "genres", "Jazz," * 2_001, "length <= 10000"),
    (USERS, "email", "mallory@example.org\x00", "regex"),
    (USERS, "favorite_genres", "g" * 4_000, "regex"),
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


@pytest.mark.parametrize("field", ["created_at", "updated_at"])
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_an_absurd_year_rejects_its_record_with_the_field_and_the_reason(
    endpoint: Endpoint, field: str
) -> None:
    good = GOOD[endpoint.name]
    for moment in ("0001-01-01T00:00:00", "1899-12-31T23:59:59.999999", "2101-01-01T00:00:00"):
        broken = good | {field: moment}
        page = decode_page(endpoint, page_of(good, broken, good), where="the page")
        assert len(page.records) == 2
        (rejected,) = page.rejected
        assert (rejected.field, rejected.reason) == (field, "Expected a year from 1900 to 2100")
        assert rejected.payload == msgspec.json.encode(broken)
    for moment in ("1900-01-01T00:00:00", "2100-12-31T23:59:59.999999"):
        page = decode_page(endpoint, page_of(good | {field: moment}), where="the page")
        assert len(page.records) == 1


@pytest.mark.parametrize("sent", [b'"\\ud800"', b'"x\\udfff"', b'{"\\ud800":1}', b"NaN"])
@pytest.mark.parametrize("field", [b'"name":', b'"beyond":'])
def test_what_only_one_record_has_malformed_rejects_that_record_alone(
    sent: bytes, field: bytes
) -> None:
    good = msgspec.json.encode(GOOD["tracks"])
    broken = good[:-1] + b"," + field + sent + b"}"
    body = b'{"total":3,"items":[' + b",".join([good, broken, good]) + b"]}"
    page = decode_page(TRACKS, body, where="the page")
    assert (page.total, len(page.records)) == (3, 2)
    (rejected,) = page.rejected
    assert sent in rejected.payload
    assert rejected.reason


def test_a_control_character_that_is_not_escaped_is_read_as_one_that_is() -> None:
    good = msgspec.json.encode(GOOD["tracks"] | {"name": "A?B"})
    body = b'{"total":3,"items":[%s,%s,%s]}' % (
        good,
        good.replace(b"?", b"\t\x1f\n"),
        good.replace(b"?", b"\0"),
    )
    page = decode_page(TRACKS, body, where="the page")
    names = [msgspec.structs.asdict(record)["name"] for record in page.records]
    assert names == ["A?B", "A\t\x1f\nB"]
    (rejected,) = page.rejected
    assert rejected.field == "name", "a NUL is none that Postgres takes, escaped or not"


def test_a_malformed_page_is_still_held_to_its_total() -> None:
    body = b'{"items":[{"name":"\\ud800"}],"total":%s}'
    assert decode_page(TRACKS, body % b"null", where="the page").total is None
    for total in (b"-1", b'"many"', b"1.5", b"[]"):
        with pytest.raises(SourceContractError, match="did not answer with a page"):
            decode_page(TRACKS, body % total, where="the page")


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_fields_beyond_the_contract_are_counted_by_name(endpoint: Endpoint) -> None:
    good = GOOD[endpoint.name]
    more, most = good | {"popularity": 1}, good | {"popularity": None, "label": {}}
    page = decode_page(endpoint, page_of(good, more, most), where="the page")
    assert page.unknown == {"popularity": 2, "label": 1}
    assert page.length == len(page.records) == 3
    assert decode_page(endpoint, page_of(good), where="the page").unknown == {}


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
MOMENTS = st.datetimes(EARLIEST, LATEST - timedelta(microseconds=1))


@given(
    st.lists(
        st.tuples(st.integers(-(2**63), 2**63 - 1), TEXTS, MOMENTS, MOMENTS), min_size=1, max_size=9
    )
)
def test_a_frame_holds_what_was_sent_and_the_hash_of_its_canonical_form(
    drawn: list[tuple[int, str, datetime, datetime]],
) -> None:
    sent = [
        a_track(number, created, updated, name=text, album=text[::-1])
        for number, text, created, updated in drawn
    ]
    records = decode_page(TRACKS, page_of(*sent), where="the page").records
    found = TRACKS.frame(records)
    assert found.schema == {**TRACKS.schema, "sha256": pl.Binary}
    assert found.drop("sha256").rows() == [msgspec.structs.astuple(record) for record in records]
    hashes = [hashlib.sha256(msgspec.json.encode(record)).digest() for record in records]
    assert found["sha256"].to_list() == hashes


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5), min_size=1, max_size=5))
def test_a_frame_holds_the_tracks_heard_in_order(heard: list[list[int]]) -> None:
    page = page_of(*(a_listen(1, items, NOON) for items in heard))
    records = decode_page(LISTENS, page, where="the page").records
    assert LISTENS.frame(records)["items"].to_list() == heard
