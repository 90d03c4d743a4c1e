"""The hot path tells the same as the open one, byte for byte, and leaves to it what it must."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from moovitamix.serve.codec import decode_list, encode_list, with_mark
from moovitamix.serve.generations import current_key, key_of
from moovitamix.serve.http import listed, reads
from moovitamix.serve.http.app import Api
from moovitamix.serve.http.listed import first_of
from moovitamix_tests.serve.http.serving import Published, with_client
from moovitamix_tests.serve.world import NAMESPACE

HALVES = st.floats(width=16, allow_nan=False, allow_infinity=False)
IDS = st.integers(-(2**31), 2**31 - 1)


@st.composite
def compact_lists(draw: st.DrawFn) -> bytes:
    ids = draw(hnp.arrays(np.int64, st.integers(1, 120), elements=IDS))
    scores = draw(hnp.arrays(np.float32, ids.shape, elements=HALVES))
    value = encode_list(ids, np.clip(scores, -65_000, 65_000))
    return draw(st.sampled_from((value, with_mark(value, 7))))


@given(compact_lists(), st.data())
def test_the_beginning_of_a_list_is_that_of_the_whole_list(
    value: bytes, data: st.DataObject
) -> None:
    whole = decode_list(value)
    count = data.draw(st.integers(1, len(whole.ids)))
    found = first_of(value, count)
    assert found is not None
    assert list(found[0]) == whole.ids[:count].tolist()
    bits = np.array(found[1], dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(bits.astype(np.float32), whole.scores[:count])
    assert first_of(value, len(whole.ids) + 1) is None


@given(compact_lists(), st.data())
def test_a_damaged_list_has_no_beginning(value: bytes, data: st.DataObject) -> None:
    altered = bytearray(value)
    position = data.draw(st.integers(0, len(value) - 1))
    altered[position] ^= data.draw(st.integers(1, 255))
    assert first_of(bytes(altered), 1) is None
    assert first_of(value[: data.draw(st.integers(0, len(value) - 1))], 1) is None
    assert first_of(value + b"\0", 1) is None


@pytest.mark.parametrize(
    ("ids", "exact"), [([1, 2, 3], True), ([1, 2, 2**40], False)], ids=["scores", "ids"]
)
def test_a_list_of_another_layout_is_left_to_others(ids: list[int], exact: bool) -> None:
    assert first_of(encode_list(np.array(ids), np.ones(3, np.float32), exact=exact), 3) is None


def test_both_ways_tell_the_same_byte_for_byte(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "ANSWER_WITHIN", 30.0)  # a busy machine is no outage

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        del api
        paths = [f"/users/{user}/recommendations?limit={n}" for user in range(1, 9) for n in (1, 7)]
        fast = [(await client.get(path)).content for path in paths]
        assert {json.loads(body)["tier"] for body in fast} == {"cached top-N"}
        monkeypatch.setattr(listed, "first_of", lambda *_: None)
        assert [(await client.get(path)).content for path in paths] == fast

    with_client(published.stores, published.home, ask)


def test_every_value_is_counted_once_whichever_way_it_goes(
    published: Published, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "ANSWER_WITHIN", 30.0)  # a busy machine is no outage
    name = valkey.get(current_key(NAMESPACE))
    assert isinstance(name, bytes)
    key = key_of(NAMESPACE, name.decode(), "u", 6)
    value: Any = valkey.get(key)
    valkey.set(key, value[:-1])

    async def ask(client: httpx.AsyncClient, api: Api) -> None:
        assert api.metrics is not None
        for path in ("5/recommendations", "6/recommendations", "5/recommendations?per_artist=9"):
            assert (await client.get(f"/users/{path}")).status_code == 200

        def counted(result: str) -> float | None:
            assert api.metrics is not None
            return api.metrics.registry.get_sample_value(
                "moovitamix_cache_reads_total", {"result": result}
            )

        # Whose list is damaged is asked for stated genres, which are not there.
        assert (counted("hit"), counted("damaged"), counted("miss")) == (2, 1, 1)

    with_client(published.stores, published.home, ask)
