"""What an earlier contract let into the lake ends no later run: neither a pull nor a load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, get_args, get_origin

import msgspec
import pytest

from moovitamix.ingest import decode
from moovitamix.ingest.contract import ENDPOINTS, Endpoint, field_types
from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix.warehouse.stage import tracks_slice
from moovitamix_tests.ingest.pulling import a_listen, a_track, at, pull_at
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.warehouse.loading import load, november, rows_of


def _bare(kind: Any) -> Any:
    """A type without what the contract asks of its values."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _takes_all(endpoint: Endpoint) -> msgspec.json.Decoder[Any]:
    fields = [(name, _bare(kind)) for name, kind in field_types(endpoint.record).items()]
    record = msgspec.defstruct(endpoint.record.__name__, fields, frozen=True, gc=False)
    page = msgspec.defstruct("Page", [("items", list[record]), ("total", int)])  # type: ignore[valid-type]
    return msgspec.json.Decoder(page)


@contextmanager
def an_earlier_contract() -> Iterator[None]:
    """Pulls take any value of the right type."""
    with pytest.MonkeyPatch.context() as patch:
        pages = {endpoint.name: _takes_all(endpoint) for endpoint in ENDPOINTS}
        patch.setattr(decode, "_WHOLE_PAGES", pages)
        yield


def test_a_genre_too_long_for_the_index_is_left_out_and_counted(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    no_genre = "".join(chr(0x4E00 + number) for number in range(4_000))
    small.tracks.append(a_track(3, at(5), genres=f"Soul,{no_genre}"))
    small.users[0]["favorite_genres"] = no_genre
    with an_earlier_contract():
        pull_at(lake, small)
    outcome = load(warehouse, lake, *range(1, 21))
    assert len(outcome.published) == 20
    assert outcome.overlong_genres == 2
    assert rows_of(warehouse, "SELECT name FROM genres") == [
        ("hip hop",),
        ("jazz",),
        ("r&b",),
        ("soul",),
    ]
    assert rows_of(
        warehouse, "SELECT name FROM track_genres JOIN genres ON id = genre_id WHERE track_id = 3"
    ) == [("soul",)]


@pytest.mark.parametrize("times", [32_767, 32_768, 40_000])
def test_more_plays_of_a_track_than_can_be_numbered_end_neither_a_load_nor_a_pull(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource, times: int
) -> None:
    plays = "SELECT track_id, count(*)::int FROM listen_history WHERE user_id = 2 GROUP BY 1"
    small.listens.append(a_listen(2, [1] * times, at(12)))
    with an_earlier_contract():
        pull_at(lake, small)
    load(warehouse, lake, *range(1, 21))
    assert rows_of(warehouse, plays) == [(1, 32_767)]

    small.listens[-1] = a_listen(2, [1, 2], at(12), at(21, 9))
    assert pull_at(lake, small, at(22)).counts["listen_history"].stored == 1
    assert load(warehouse, lake, 12, 21).inserted["listen_history"] == 1
    assert rows_of(warehouse, plays) == [(1, 32_767), (2, 1)]


def test_a_duration_in_digits_of_another_script_is_left_to_its_check_and_to_quarantine(
    warehouse: Warehouse, lake: LakeStore, small: ReferenceSource
) -> None:
    small.tracks.append(a_track(3, at(5), duration="٣:20"))
    small.listens.append(a_listen(2, [3, 1], at(13)))
    with an_earlier_contract():
        pull_at(lake, small)
    found = tracks_slice(lake, [november(5)])
    assert dict(found.select("id", "duration_seconds").rows())[3] is None
    outcome = load(warehouse, lake, 13)
    assert (outcome.inserted["listen_history"], outcome.quarantined_listens) == (1, 1)

    small.tracks[-1] = a_track(3, at(5), duration="3:20")
    pull_at(lake, small, at(22))
    load(warehouse, lake, *range(1, 22))
    loaded = "SELECT user_id, track_id FROM listen_history WHERE track_id = 3"
    assert rows_of(warehouse, loaded) == [(2, 3)]
