"""The dealing rule over whole pulls: each content goes to one day once, or is counted as waiting.

The rule for a single record is tested in `test_deal.py`.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moovitamix.ingest import bring as bring_module
from moovitamix.ingest import fetch as fetch_module
from moovitamix.ingest import pulls, slices
from moovitamix.ingest import spool as spool_module
from moovitamix.ingest.bring import bring
from moovitamix.ingest.contract import ENDPOINTS, LISTENS, TRACKS, Endpoint
from moovitamix.ingest.deal import CLOCK_ERROR, PullTimes
from moovitamix.ingest.fetch import Reading
from moovitamix.ingest.keep import keep, keep_days, keep_lists
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pull import last_day_over
from moovitamix.ingest.pulls import Pull
from moovitamix.ingest.rejected import REJECTED_SCHEMA
from moovitamix.ingest.spool import Spool
from moovitamix_tests.ingest.pulling import (
    FIRST_DAY,
    NOON,
    ONE_DAY,
    a_listen,
    a_track,
    a_user,
    at,
    empty,
    pull_at,
)
from moovitamix_tests.reference_source import Record, ReferenceSource

ALL_DAYS = [FIRST_DAY + timedelta(days=number) for number in range(60)]


def day(number: int) -> date:
    return date(2026, 11, number)


@pytest.fixture
def tracks(source: ReferenceSource) -> ReferenceSource:
    """A source that holds ten tracks of the fifth, and nothing else."""
    empty(source)
    source.tracks = [a_track(number, at(5)) for number in range(1, 11)]
    return source


def days_of(lake: LakeStore, track_id: int) -> list[tuple[date, str]]:
    """The days whose slices hold a track, and its name there."""
    found = slices.read_days(lake, TRACKS, ALL_DAYS).filter(pl.col("id") == track_id)
    return found.select("day", "name").rows()


def test_a_late_arrival_goes_to_the_last_day_that_was_over_and_stays_there(
    lake: LakeStore, tracks: ReferenceSource
) -> None:
    pull_at(lake, tracks)
    tracks.tracks.append(a_track(99, at(12)))
    assert pull_at(lake, tracks, at(22)).counts["tracks"].stored == 1
    assert days_of(lake, 99) == [(day(21), "Track 99")]
    assert pull_at(lake, tracks, at(23)).counts["tracks"].stored == 0
    assert days_of(lake, 99) == [(day(21), "Track 99")]


def test_an_edit_without_a_new_date_goes_to_the_last_day_that_was_over_and_leaves_its_own(
    lake: LakeStore, tracks: ReferenceSource
) -> None:
    pull_at(lake, tracks)
    tracks.tracks[0] = a_track(1, at(5), name="Renamed")
    assert pull_at(lake, tracks, at(23)).counts["tracks"].stored == 1
    assert days_of(lake, 1) == [(day(22), "Renamed")]


def test_a_record_that_changes_every_night_is_in_the_slice_of_its_last_night_alone(
    lake: LakeStore, tracks: ReferenceSource
) -> None:
    for night in range(20, 25):
        tracks.tracks[0] = a_track(1, at(5), at(night, 23), name=f"Night {night}")
        assert pull_at(lake, tracks, at(night + 1)).counts["tracks"].stored in {1, 10}
        assert days_of(lake, 1) == [(day(night), f"Night {night}")]
    assert (
        pulls.known_contents(lake, TRACKS, pulls.kept_pulls(lake)).filter(pl.col("id") == 1).height
        == 5
    ), "each content was dealt once"


def test_what_a_listen_that_grows_every_night_has_added_keeps_its_night(
    lake: LakeStore, source: ReferenceSource
) -> None:
    empty(source).users = [a_user(1, at(5))]
    for night in range(20, 25):
        heard = list(range(20, night + 1))
        source.listens = [a_listen(1, heard, at(20), at(night, 23))]
        pull_at(lake, source, at(night + 1))
    (record,) = slices.read_days(lake, LISTENS, ALL_DAYS).to_dicts()
    assert record["items"] == heard
    assert record["listened_at"] == [at(20), *(at(night, 23) for night in range(21, 25))]


def test_a_clock_somewhat_ahead_makes_a_record_wait_for_its_own_day(
    lake: LakeStore, tracks: ReferenceSource
) -> None:
    tracks.tracks.append(a_track(99, NOON + CLOCK_ERROR))
    assert pull_at(lake, tracks).counts["tracks"].waiting == 1
    assert pull_at(lake, tracks, at(22)).counts["tracks"].waiting == 1
    assert days_of(lake, 99) == []
    assert pull_at(lake, tracks, at(23)).counts["tracks"].stored == 1
    assert days_of(lake, 99) == [(day(22), "Track 99")]


def test_a_clock_far_ahead_is_rejected_until_its_day_has_come(
    lake: LakeStore, tracks: ReferenceSource
) -> None:
    tracks.tracks.append(a_track(99, at(24)))
    pulled = [pull_at(lake, tracks, NOON + number * ONE_DAY) for number in range(5)]
    counted = [pull.counts["tracks"] for pull in pulled]
    assert [n.rejected for n in counted] == [1, 1, 0, 0, 0]
    assert [n.waiting for n in counted] == [0, 0, 1, 1, 0]
    assert days_of(lake, 99) == [(day(24), "Track 99")]


def test_a_pull_in_many_parts_gives_what_a_pull_in_one_gives(
    lake: LakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_one = LakeStore((tmp_path / "in one").as_uri())
    with ReferenceSource(seed=11, records=250, now=at(21, 11)) as source:
        for moment in (at(21), at(22)):
            with monkeypatch.context() as patch:
                patch.setattr(fetch_module, "parts_for", lambda _: 7)
                patch.setattr(fetch_module, "_RECORDS_A_FRAME", 30)
                patch.setattr(spool_module, "_SPILL_ROWS", 40)
                patch.setattr(bring_module, "PART_ROWS", 20)
                patch.setattr(pulls, "PART_ROWS", 16)
                pulled = pull_at(lake, source, moment)
            assert pull_at(in_one, source, moment).counts == pulled.counts
            # Edits, listens that grow, late arrivals, and what was made since midnight.
            for track in source.tracks[::3]:
                track["name"] = "Renamed"
            for listen in source.listens[::4]:
                if listen["items"]:
                    listen["items"] = [*listen["items"], listen["items"][0]]
                    listen["updated_at"] = at(21, 20).isoformat()
            source.users.append(a_user(100_001, at(3)))
    assert pulled.counts["listen_history"].stored > 50
    for endpoint in ENDPOINTS:
        order = [*endpoint.key, "sha256"]
        many, one = (
            slices.read_days(each, endpoint, ALL_DAYS).sort(order) for each in (lake, in_one)
        )
        assert many.equals(one)
        many, one = (pulls.rejected_on(each, endpoint, ALL_DAYS) for each in (lake, in_one))
        assert many.sort("sha256").equals(one.sort("sha256"))
        seen = pulls.seen_keys(lake, endpoint, pulled)
        assert seen.sort(seen.columns).equals(
            pulls.seen_keys(in_one, endpoint, pulled).sort(seen.columns)
        )


# A state of the source: of each of few records, whether it is there, its content, and its dates.
MOMENTS = st.datetimes(datetime(2026, 10, 30), datetime(2026, 11, 12))  # noqa: DTZ001
STATES = st.dictionaries(
    st.integers(1, 4),
    st.tuples(st.sampled_from([at(1), at(4), at(7), at(9)]), st.integers(1, 3), MOMENTS),
)
PULLS = st.lists(st.tuples(st.timedeltas(timedelta(), 3 * ONE_DAY), STATES), min_size=1, max_size=5)


def state_of(endpoint: Endpoint, state: dict[int, tuple[datetime, int, datetime]]) -> list[Record]:
    if endpoint is TRACKS:
        return [a_track(n, made, edit, name=f"{v}") for n, (made, v, edit) in state.items()]
    return [a_listen(n, list(range(v)), made, edit) for n, (made, v, edit) in state.items()]


def frame_of(endpoint: Endpoint, records: list[Record]) -> pl.DataFrame:
    return endpoint.frame([msgspec.convert(record, endpoint.record) for record in records])


def reading_of(endpoint: Endpoint, records: list[Record], folder: Path, parts: int) -> Reading:
    schema = endpoint.frame([]).schema
    held = Spool.by_key(folder / "records", schema, endpoint.key, parts)
    held.add(frame_of(endpoint, records))
    rejected = Spool.by_key(folder / "rejected", REJECTED_SCHEMA, ["sha256"], parts)
    return Reading(endpoint, held, rejected, 1, len(records), len(records), 0, 0, {})


def keep_reading(
    lake: LakeStore, endpoint: Endpoint, records: list[Record], began: datetime, parts: int
) -> Pull:
    """One pull without a source: this reading of an endpoint, nothing of the others."""
    earlier = pulls.kept_pulls(lake)
    over_before = earlier[-1].over if earlier else None
    times = PullTimes(began, last_day_over(began), over_before, FIRST_DAY)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts = {}
        for each in ENDPOINTS:
            place = folder / each.name
            held = records if each is endpoint else []
            reading = reading_of(each, held, place / "reading", parts)
            brought = bring(lake, reading, earlier, times, place)
            counts[each.name] = brought.counts
            for write in (keep_days, keep_lists):
                write(lake, pulls.pull_name(began), each, brought, folder)
        pull = Pull(pulls.pull_name(began), began, began, times.over, counts)
        keep(lake, pull)
    return pull


@pytest.mark.parametrize("endpoint", [TRACKS, LISTENS], ids=lambda endpoint: endpoint.name)
@given(sequence=PULLS, parts=st.integers(1, 3))
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
def test_every_content_of_every_pull_is_dealt_once_to_one_day_or_counted_as_waiting(
    endpoint: Endpoint,
    sequence: list[tuple[timedelta, dict[int, tuple[datetime, int, datetime]]]],
    parts: int,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = LakeStore(Path(folder).as_uri())
        began = at(5)
        latest: dict[object, bytes] = {}
        dealt: Counter[tuple[object, bytes]] = Counter()
        for passed, state in sequence:
            began += passed + timedelta(microseconds=1)
            records = state_of(endpoint, state)
            pull = keep_reading(lake, endpoint, records, began, parts)
            counts = pull.counts[endpoint.name]
            assert (
                counts.distinct == counts.stored + counts.known + counts.waiting + counts.rejected
            )
            brought = pulls.known_contents(lake, endpoint, [pull])
            new = {row[:-3]: row[-3] for row in brought.iter_rows()}
            assert len(new) == brought.height == counts.stored, "a record once a pull"
            frame = frame_of(endpoint, records)
            waiting = known = 0
            for record in frame.iter_rows(named=True):
                key = tuple(record[name] for name in endpoint.key)
                sha256 = record["sha256"]
                changed = max(record["created_at"], record["updated_at"])
                if latest.get(key) == sha256:
                    known += 1
                    assert key not in new, "what is known is not dealt again"
                elif key in new:
                    assert new[key] == sha256
                    latest[key] = sha256
                    dealt[key, sha256] += 1
                elif changed <= began + CLOCK_ERROR:
                    waiting += 1
                    assert record["created_at"].date() > pull.over, (
                        "only what was made since midnight waits"
                    )
            assert (counts.known, counts.waiting) == (known, waiting)
        kept = pulls.kept_pulls(lake)
        every = pulls.known_contents(lake, endpoint, kept)
        assert Counter((row[:-3], row[-3]) for row in every.iter_rows()) == dealt
        assert every["day"].null_count() == 0
        stored = slices.read_contents(lake, endpoint, every)
        assert stored.height == every.height, "each is in the file of its day"
        assert slices.read_days(lake, endpoint, ALL_DAYS).height == len(latest)


def test_a_manifest_is_read_once_unless_it_is_replaced(tmp_path: Path) -> None:
    class Watched(LakeStore):
        def read_bytes(self, name: str) -> bytes:
            read[name] += 1
            return super().read_bytes(name)

    read = Counter[str]()
    url = tmp_path.as_uri()
    kept = [
        keep_reading(Watched(url), TRACKS, [a_track(1, at(5))], at(number), 1)
        for number in (6, 7, 8)
    ]
    read.clear()
    assert pulls.kept_pulls(Watched(url)) == kept, "each step of a run opens the lake for itself"
    assert pulls.newest_pull(Watched(url)) == kept[-1]
    names = [pulls.manifest_file(pull.name) for pull in kept]
    assert read == Counter(names[-1:]), "the others were read by the pulls that followed them"

    recounted = msgspec.structs.replace(kept[0], over=day(1))
    keep(Watched(url), recounted)
    assert pulls.kept_pulls(Watched(url)) == [recounted, *kept[1:]]
    assert read == Counter([names[-1], names[0]])
