"""What a pull leaves out of those who were erased, and whose a rejected record is."""

from __future__ import annotations

from datetime import datetime

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.ingest.contract import LISTENS, TRACKS, USERS, Endpoint
from moovitamix.ingest.erased import Erased, hash_account, hash_person, hash_unseen, of_erased
from moovitamix.ingest.whose import key_text, legible_key
from moovitamix_tests.ingest.pulling import a_listen, at

KEY = b"k" * 32
IDS = st.integers(-(2**63), 2**63 - 1)
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001 - as the contract


def erased(*persons: tuple[int, datetime]) -> Erased:
    return Erased(
        KEY,
        frozenset(hash_account(KEY, one) for one, _ in persons),
        {hash_person(KEY, *one): at(20) for one in persons},
    )


@given(IDS, MOMENTS, IDS, MOMENTS)
def test_a_hash_knows_its_person_and_nobody_else(
    user: int, created: datetime, other: int, later: datetime
) -> None:
    they = erased((user, created))
    assert they.is_person(user, created)
    assert they.is_person(other, later) == ((other, later) == (user, created))
    assert they.has_account(other) == (other == user)
    assert str(user) not in repr(they)


@given(IDS, IDS, MOMENTS, MOMENTS)
def test_of_an_account_that_nobody_had_seen_the_moment_of_the_erasure_tells_whose_it_is(
    user: int, other: int, created: datetime, moment: datetime
) -> None:
    they = Erased(KEY, frozenset([hash_account(KEY, user)]), {hash_unseen(KEY, user): moment})
    assert they.is_person(other, created) == (other == user and created <= moment)
    assert they.is_person(user, moment)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 20)), max_size=12))
def test_a_listen_stays_where_its_id_was_nobodys_or_is_anothers_by_then(
    listens: list[tuple[int, int]],
) -> None:
    frame = pl.DataFrame(
        [(user, at(day)) for user, day in listens],
        schema={"user_id": pl.Int64, "created_at": pl.Datetime("us")},
        orient="row",
    )
    # 1 and 2 were erased; 2 is another account's since the 10th.
    left_out = of_erased(frame, erased((1, at(1)), (2, at(1))), {2: at(10)})
    assert left_out.to_list() == [user == 1 or (user == 2 and day < 10) for user, day in listens]


@pytest.mark.parametrize(
    ("endpoint", "payload", "key"),
    [
        (USERS, b'{"id": 7, "email": null}', "7"),
        (USERS, b'{"id": "7"}', "7"),
        (USERS, b'{"id": 7, "email": "\\ud800"}', "7"),
        (TRACKS, b'{"id": 7, "duration": NaN}', "7"),
        (LISTENS, msgspec.json.encode(a_listen(7, None, datetime(1970, 1, 2))), "7 86400000000"),  # noqa: DTZ001 - as the contract
        (LISTENS, b'{"user_id": 7, "created_at": "1970-01-02T01:00:00+01:00"}', "7 86400000000"),
        (LISTENS, b'{"user_id": 7, "created_at": "never"}', "7"),
        (LISTENS, msgspec.json.encode(a_listen(None, [1], at(5))), None),
        (USERS, b'{"id": true}', None),
        (USERS, b'{"id": 18446744073709551616}', None),
        (USERS, b"[7]", None),
        (USERS, b"\xff" + b"[" * 100_000, None),
    ],
)
def test_whose_a_rejected_record_is_is_read_where_it_can_be(
    endpoint: Endpoint, payload: bytes, key: str | None
) -> None:
    assert key_text(endpoint, payload) == key


@given(st.binary())
def test_no_payload_is_too_broken_to_be_looked_at(payload: bytes) -> None:
    for endpoint in (TRACKS, USERS, LISTENS):
        legible_key(endpoint, payload)
