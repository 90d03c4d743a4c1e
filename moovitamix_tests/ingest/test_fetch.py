"""A reading is the whole of one world, or it is done again, or it is no reading."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from fastapi import HTTPException

from moovitamix.errors import SourceContractError, SourceUnavailable
from moovitamix.ingest import client as client_module
from moovitamix.ingest import fetch as fetch_module
from moovitamix.ingest.contract import ENDPOINTS, TRACKS
from moovitamix.ingest.decode import Rejected
from moovitamix.ingest.fetch import READINGS
from moovitamix.ingest.rejected import REJECTED_SCHEMA, rejected_frame
from moovitamix.ingest.whole import MOST_RECORDS
from moovitamix_tests.ingest.pulling import NOON, a_listen, a_track, read
from moovitamix_tests.reference_source import Record, ReferenceSource


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LONGEST_WAIT_SECONDS", 0.002)


@pytest.fixture
def paged(source: ReferenceSource) -> ReferenceSource:
    """The source with 250 tracks, three pages of them."""
    source.tracks = [a_track(number, NOON) for number in range(1, 251)]
    return source


def test_everything_the_source_holds_is_read() -> None:
    troubles: list[str] = []
    with ReferenceSource(seed=3, records=1_000, now=NOON) as source:
        readings = read(source, troubles)
    assert list(readings) == [endpoint.name for endpoint in ENDPOINTS]
    assert set(readings["tracks"].records["id"]) == {track["id"] for track in source.tracks}
    assert set(readings["users"].records["id"]) == {user["id"] for user in source.users}
    listens = readings["listen_history"]
    nulls = [r for r in source.listens if r["user_id"] is None or r["items"] is None]
    assert len(nulls) == 7
    assert set(listens.rejected["payload"]) == {msgspec.json.encode(r) for r in nulls}
    assert listens.records.height == 993
    assert (listens.distinct, listens.total, listens.pages) == (1_000, 1_000, 11)
    assert troubles == []


def test_an_empty_source_is_read_as_empty(source: ReferenceSource) -> None:
    source.tracks, source.users, source.listens = [], [], []
    assert [reading.distinct for reading in read(source).values()] == [0, 0, 0]


def test_what_comes_in_while_reading_is_read_too(paged: ReferenceSource) -> None:
    def grow(endpoint: str, page: int) -> None:
        if endpoint == "tracks" and page > 1 and len(paged.tracks) < 450:
            first = len(paged.tracks) + 1
            paged.tracks.extend(a_track(first + n, NOON) for n in range(100))

    paged.on_request = grow
    troubles: list[str] = []
    reading = read(paged, troubles)["tracks"]
    assert reading.records["id"].sort().to_list() == list(range(1, 451))
    assert reading.total == 450
    assert troubles == []


def test_what_comes_in_at_the_front_pushes_nothing_out(paged: ReferenceSource) -> None:
    def grow(endpoint: str, page: int) -> None:
        if endpoint == "tracks" and page == 2 and len(paged.tracks) == 250:
            paged.tracks[:0] = [a_track(1_000 + n, NOON) for n in range(3)]

    paged.on_request = grow
    reading = read(paged)["tracks"]
    assert set(range(1, 251)) <= set(reading.records["id"])
    assert reading.records["id"].is_unique().all()


def test_a_source_that_starts_anew_in_the_middle_is_noticed_and_read_again() -> None:
    restarts: list[str] = []

    def restart(endpoint: str, page: int) -> None:
        if not restarts and endpoint == "users" and page == 2:
            restarts.append(endpoint)
            source.restart()

    troubles: list[str] = []
    with ReferenceSource(seed=4, records=300, now=NOON) as source:
        source.on_request = restart
        readings = read(source, troubles)
    assert len(troubles) == 1
    assert set(readings["tracks"].records["id"]) == {track["id"] for track in source.tracks}
    assert set(readings["users"].records["id"]) == {user["id"] for user in source.users}


def test_a_source_that_starts_anew_all_the_time_is_unavailable() -> None:
    troubles: list[str] = []
    with ReferenceSource(seed=4, records=150, now=NOON) as source:
        source.on_request = lambda endpoint, page: (
            source.restart() if endpoint == "tracks" and page == 2 else None
        )
        with pytest.raises(SourceUnavailable, match="Nothing was stored") as raised:
            read(source, troubles)
    assert len(troubles) == READINGS
    assert troubles[-1] in str(raised.value)


@pytest.mark.parametrize("of", ["tracks", "users"])
def test_a_record_that_comes_twice_covers_no_total(source: ReferenceSource, of: str) -> None:
    records: list[Record] = getattr(source, of)
    records[7] = records[8]
    troubles: list[str] = []
    with pytest.raises(SourceUnavailable, match=f"{of} states 40 records and gave 39 different"):
        read(source, troubles)
    assert len(troubles) == READINGS


def test_a_page_that_repeats_another_covers_no_total(paged: ReferenceSource) -> None:
    paged.tracks[100:200] = paged.tracks[:100]
    with pytest.raises(SourceUnavailable, match="tracks states 250 records and gave 150 different"):
        read(paged)


def test_listens_that_repeat_for_good_are_folded(source: ReferenceSource) -> None:
    source.listens[7] = source.listens[8]
    troubles: list[str] = []
    reading = read(source, troubles)["listen_history"]
    assert reading.distinct == 39
    assert len(troubles) == 1, "the second reading, giving the same again, settles it"


@pytest.mark.parametrize("of", ["tracks", "users", "listens"])
def test_broken_records_that_are_the_same_to_the_byte_are_folded_while_the_source_grows(
    source: ReferenceSource, of: str
) -> None:
    records: list[Record] = getattr(source, of)
    kept = list(records)
    for place in (3, 7, 30):
        records[place] = {"id": None}
    troubles: list[str] = []

    def grow(*_: object) -> None:
        if len(troubles) == 1 and len(records) == len(kept):
            records.append(kept[7])

    source.on_request = grow
    name = "listen_history" if of == "listens" else of
    reading = read(source, troubles)[name]
    assert len(troubles) == 1, "the second reading, finding as many again, settles it"
    assert (reading.distinct, reading.total) == (39, 41)
    assert reading.rejected["payload"].to_list().count(b'{"id":null}') == 1


def test_broken_records_that_are_the_same_cover_no_other_that_is_missing(
    source: ReferenceSource,
) -> None:
    source.tracks[3] = source.tracks[7] = {"id": None}
    source.tracks[8] = source.tracks[9]
    with pytest.raises(SourceUnavailable, match="tracks states 40 records and gave 38 different"):
        read(source)


def test_of_two_contents_of_one_record_the_later_stands(source: ReferenceSource) -> None:
    old = a_listen(source.users[0]["id"], [1], NOON)
    new = a_listen(source.users[0]["id"], [1, 2], NOON, NOON.replace(hour=13))
    source.listens = [new, old]
    reading = read(source)["listen_history"]
    assert reading.records["items"].to_list() == [[1, 2]]
    assert (reading.distinct, reading.superseded, reading.received) == (1, 1, 4)


def test_listen_records_of_one_user_and_moment_are_one_with_the_plays_of_all(
    source: ReferenceSource,
) -> None:
    user = source.users[0]["id"]
    source.listens = [
        a_listen(user, [3, 3], NOON, NOON.replace(hour=14)),
        a_listen(user, [1, 2, 3], NOON),
        a_listen(user, [], NOON, NOON.replace(hour=15)),
        a_listen(user, [9], NOON.replace(hour=13)),
        a_listen(user, [], NOON.replace(hour=11)),
        a_listen(user, [], NOON.replace(hour=11), NOON),
    ]
    troubles: list[str] = []
    reading = read(source, troubles)["listen_history"]
    assert sorted(reading.records.select("created_at", "items", "updated_at").rows()) == [
        (NOON.replace(hour=11), [], NOON),
        (NOON, [3, 3, 1, 2], NOON.replace(hour=15)),
        (NOON.replace(hour=13), [9], NOON.replace(hour=13)),
    ]
    assert (reading.distinct, reading.superseded, reading.rejected.height) == (3, 3, 0)
    assert troubles == [], "no record is missing, so once is enough"
    source.listens.reverse()
    assert set(read(source)["listen_history"].records["sha256"]) == set(reading.records["sha256"])


@pytest.mark.parametrize("grown", [0, 1], ids=["shrunk", "and grown again at its end"])
def test_a_record_that_is_deleted_while_pages_are_read_takes_no_other_with_it(
    paged: ReferenceSource, grown: int
) -> None:
    """All behind the deleted one move forward: the first of a page to the page before it."""
    paged.tracks += [a_track(number, NOON) for number in range(251, 1_001)]
    asked: list[int] = []

    def delete(endpoint: str, page: int) -> None:
        if endpoint == "tracks":
            asked.append(page)
            if len(asked) == 8:
                del paged.tracks[4]
            if len(asked) == 10:  # the last one
                paged.tracks += [a_track(2_000 + n, NOON) for n in range(grown)]

    paged.on_request = delete
    troubles: list[str] = []
    reading = read(paged, troubles)["tracks"]
    assert set(reading.records["id"]) == {track["id"] for track in paged.tracks}
    assert len(troubles) == 1
    assert "tracks stated 1000 records and fewer later on" in troubles[0]


def test_a_page_that_is_short_in_the_middle_covers_no_total(paged: ReferenceSource) -> None:
    class Short(list[Record]):
        """Holds what it holds, and gives one record less on the second page."""

        def __getitem__(self, place: Any) -> Any:
            found = super().__getitem__(place)
            short = isinstance(place, slice) and place.start == 100
            return found[:-1] if short else found

    paged.tracks = Short(paged.tracks)
    with pytest.raises(SourceUnavailable, match="tracks states 250 records and gave 249 different"):
        read(paged)


class Boastful(list[Record]):
    """Records that are said to be many more."""

    said = 0

    def __len__(self) -> int:
        return self.said


def test_no_page_is_asked_for_behind_the_end_whatever_the_total_says(
    paged: ReferenceSource,
) -> None:
    paged.tracks = Boastful(paged.tracks)
    paged.tracks.said = 100_000
    with pytest.raises(SourceUnavailable, match="tracks states 100000 records and gave 250 diff"):
        read(paged)
    # Per reading three with records, one empty one for each request at a time, and the last one.
    assert paged.requests["tracks"] <= READINGS * (3 + client_module.CONCURRENT_REQUESTS + 1)


@pytest.mark.parametrize("said", [MOST_RECORDS + 1, 10**18])
def test_a_total_beyond_all_measure_breaks_the_contract_at_once(
    paged: ReferenceSource, said: int
) -> None:
    paged.tracks = Boastful(paged.tracks)
    paged.tracks.said = said
    with pytest.raises(SourceContractError, match="tracks states a total of more than 1,000,000,0"):
        read(paged)
    assert paged.requests["tracks"] == 1


def test_a_later_page_that_never_comes_makes_the_source_unavailable(paged: ReferenceSource) -> None:
    def refuse(endpoint: str, page: int) -> None:
        if endpoint == "tracks" and page == 2:
            raise HTTPException(503)

    paged.on_request = refuse
    with pytest.raises(SourceUnavailable, match=r"tracks\?page=2"):
        read(paged)


def test_a_later_page_that_is_mostly_broken_breaks_the_contract(paged: ReferenceSource) -> None:
    for track in paged.tracks[100:200]:
        track["duration"] = 210
    with pytest.raises(SourceContractError, match="100 of 100 records"):
        read(paged)


def test_long_rejected_records_go_to_disk_while_pages_are_read(
    paged: ReferenceSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_module, "_REJECTED_BYTES_A_SPILL", 20_000)
    spilled: list[int] = []
    spill = fetch_module._Collected._spill

    def told(self: Any, frames: list[Any], rejects: list[Rejected]) -> None:
        if self._endpoint is TRACKS:
            spilled.append(len(rejects))
        spill(self, frames, rejects)

    monkeypatch.setattr(fetch_module._Collected, "_spill", told)
    for place in (3, 103, 104, 105, 203):
        paged.tracks[place] = {"id": place, "name": "x" * 10_001}
    reading = read(paged)["tracks"]
    assert spilled == [4, 1], "those of two pages while reading, the last one at its end"
    assert (reading.distinct, reading.rejected.height) == (250, 5)


def test_rejected_payloads_are_kept_once() -> None:
    frame = rejected_frame(
        [Rejected(b"{}", "id", "Why"), Rejected(b"{}", "id", "Why"), Rejected(b"[]", None, "Not")]
    )
    assert frame.schema == REJECTED_SCHEMA
    assert frame.select("payload", "field", "reason").rows() == [
        (b"{}", "id", "Why"),
        (b"[]", None, "Not"),
    ]
    assert rejected_frame([]).schema == REJECTED_SCHEMA
