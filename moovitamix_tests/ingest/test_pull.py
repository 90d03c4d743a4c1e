"""A pull brings what is new, deals it to days, and is kept as one or not at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

from moovitamix.errors import SourceContractError, SourceUnavailable, StoreUnavailable
from moovitamix.ingest import pull, pulls, slices
from moovitamix.ingest.contract import ENDPOINTS, LISTENS, TRACKS, USERS, Endpoint
from moovitamix.ingest.keep import refuse_unless_whole
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pull import covering_pull
from moovitamix.ingest.pulls import Pull
from moovitamix.ingest.settle import explode
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


def day(number: int) -> date:
    return date(2026, 11, number)


MADE: dict[str, Callable[..., Record]] = {"tracks": a_track, "users": a_user}
ALL_DAYS = [day(number) for number in range(1, 31)]


@pytest.fixture
def small(source: ReferenceSource) -> ReferenceSource:
    """Three tracks, two users and one listen of the 12th."""
    empty(source)
    source.tracks = [a_track(number, at(5)) for number in (1, 2, 3)]
    source.users = [a_user(number, at(6)) for number in (1, 2)]
    source.listens = [a_listen(1, [1, 2, 1], at(12))]
    return source


def slice_of(lake: LakeStore, endpoint: Endpoint, *days: int) -> pl.DataFrame:
    return slices.read_days(lake, endpoint, [day(number) for number in days])


def plays(lake: LakeStore) -> set[tuple[Any, ...]]:
    """User, track, nth and moment of all listens in the lake."""
    exploded = explode(slices.read_days(lake, LISTENS, ALL_DAYS))
    return set(exploded.select("user_id", "track_id", "nth", "listened_at").rows())


def adds_up(pull: Pull) -> bool:
    return all(
        n.distinct == n.stored + n.known + n.waiting + n.rejected for n in pull.counts.values()
    )


def test_the_first_pull_stores_everything_that_is_over_and_counts_add_up(lake: LakeStore) -> None:
    with ReferenceSource(seed=9, records=250, now=at(21, 11)) as source:
        pull = pull_at(lake, source)
    assert adds_up(pull)
    assert (pull.over, pull.began) == (day(20), NOON)
    assert pull.counts["listen_history"].rejected == 7
    held = {"tracks": source.tracks, "users": source.users, "listen_history": source.listens}
    for endpoint in ENDPOINTS:
        stored = slices.read_days(lake, endpoint, ALL_DAYS)
        started = [r for r in held[endpoint.name] if r["created_at"] < "2026-11-21"]
        assert stored.height == pull.counts[endpoint.name].stored
        assert pull.counts[endpoint.name].waiting <= 250 - len(started)
        assert stored["day"].min() == FIRST_DAY
    assert pulls.newest_pull(lake) == pull
    assert pulls.kept_pulls(lake) == [pull]


def test_a_second_pull_of_an_unchanged_source_stores_nothing(
    lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    before = {endpoint.name: slice_of(lake, endpoint, *range(1, 31)) for endpoint in ENDPOINTS}
    second = pull_at(lake, small, NOON + ONE_DAY)
    assert [n.stored for n in second.counts.values()] == [0, 0, 0]
    assert [n.known for n in second.counts.values()] == [3, 2, 1]
    assert adds_up(second)
    for endpoint in ENDPOINTS:
        assert slice_of(lake, endpoint, *range(1, 31)).equals(before[endpoint.name])


def test_a_second_pull_stores_only_what_is_new(lake: LakeStore, small: ReferenceSource) -> None:
    pull_at(lake, small)
    small.tracks.append(a_track(4, at(21, 9)))
    second = pull_at(lake, small, NOON + ONE_DAY)
    assert second.counts["tracks"].stored == 1
    assert slice_of(lake, TRACKS, 21)["id"].to_list() == [4]
    assert slices.count_dealt(lake, TRACKS, [day(21)]) == {day(21): 1}
    assert set(pulls.seen_keys(lake, TRACKS, second)["id"]) == {1, 2, 3, 4}


def test_an_edited_record_moves_to_its_new_day_and_is_replaced_in_the_old(
    lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    small.tracks[1] = a_track(2, at(5), at(21, 20), name="Another name")
    pull_at(lake, small, at(22))
    assert set(slice_of(lake, TRACKS, 5)["id"]) == {1, 3}
    assert slice_of(lake, TRACKS, 21).select("id", "name").rows() == [(2, "Another name")]


def test_a_content_that_comes_back_is_news_again(lake: LakeStore, small: ReferenceSource) -> None:
    original = small.tracks[1]
    pull_at(lake, small)
    small.tracks[1] = original | {"name": "A slip"}
    pull_at(lake, small, at(22))
    small.tracks[1] = original
    pull_at(lake, small, at(23))
    found = slices.read_days(lake, TRACKS, ALL_DAYS).filter(pl.col("id") == 2)
    assert found.select("name", "day").rows() == [("Track 2", day(22))]


def test_a_listen_is_heard_when_it_was_recorded(lake: LakeStore, small: ReferenceSource) -> None:
    small.listens = [a_listen(1, [1, 2, 1], at(12), at(13))]
    pull_at(lake, small)
    assert plays(lake) == {(1, 1, 1, at(12)), (1, 2, 1, at(12)), (1, 1, 2, at(12))}


def test_what_a_listen_has_grown_by_was_heard_when_it_was_updated(
    lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    small.listens = [a_listen(1, [1, 2, 1, 3, 1], at(12), at(21, 20))]
    pull_at(lake, small, at(22))
    old = {(1, 1, 1, at(12)), (1, 2, 1, at(12)), (1, 1, 2, at(12))}
    assert plays(lake) == old | {(1, 3, 1, at(21, 20)), (1, 1, 3, at(21, 20))}
    small.listens = [a_listen(1, [1, 2, 1, 3, 1, 2], at(12), at(22, 20))]
    pull_at(lake, small, at(23))
    assert (1, 3, 1, at(21, 20)) in plays(lake), "settled moments stay"
    assert (1, 2, 2, at(22, 20)) in plays(lake)


def test_a_listen_without_tracks_is_stored_and_gives_no_plays(
    lake: LakeStore, small: ReferenceSource
) -> None:
    small.listens = [a_listen(1, [], at(12)), a_listen(2, [3], at(12))]
    pull_at(lake, small)
    assert slice_of(lake, LISTENS, 12).height == 2
    assert plays(lake) == {(2, 3, 1, at(12))}
    small.listens[0] = a_listen(1, [2], at(12), at(21, 1))
    pull_at(lake, small, at(22))
    assert (1, 2, 1, at(21, 1)) in plays(lake)


def test_what_waits_is_counted_and_comes_with_the_next_pull(
    lake: LakeStore, small: ReferenceSource
) -> None:
    small.users.append(a_user(3, at(21, 9)))
    small.listens.append(a_listen(3, [1], at(21, 10)))
    first = pull_at(lake, small)
    assert [n.waiting for n in first.counts.values()] == [0, 1, 1]
    assert adds_up(first)
    assert 3 not in slices.read_days(lake, USERS, ALL_DAYS)["id"]
    second = pull_at(lake, small, at(22))
    assert [n.waiting for n in second.counts.values()] == [0, 0, 0]
    assert slice_of(lake, USERS, 21)["id"].to_list() == [3]
    assert slice_of(lake, LISTENS, 21)["user_id"].to_list() == [3]


def test_what_is_dated_too_far_ahead_is_rejected_with_the_field(
    lake: LakeStore, small: ReferenceSource
) -> None:
    far = datetime(2126, 1, 1)  # noqa: DTZ001
    small.tracks += [a_track(4, far), a_track(5, at(5), far)]
    pull = pull_at(lake, small)
    assert pull.counts["tracks"].rejected == 2
    assert adds_up(pull)
    rejected = pulls.rejected_on(lake, TRACKS, [day(20)])
    assert set(rejected["field"]) == {"created_at", "updated_at"}
    assert set(rejected["pull"]) == {pull.name}
    assert pulls.rejected_on(lake, TRACKS, [day(19)]).is_empty()


@pytest.mark.parametrize("dies_at", [1, 2, 6, 12, 14, 15])
def test_a_pull_that_is_killed_leaves_nothing_to_read_and_is_swept(
    lake: LakeStore, small: ReferenceSource, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    whole = pull_at(lake, small)
    files = set(lake.names("raw")) | set(lake.names("pulls"))
    small.tracks.append(a_track(4, at(21, 9)))
    small.listens.append(a_listen(2, [4], at(21, 10)))
    replace, written = LakeStore._replace, []

    def write_until_killed(store: LakeStore, name: str, write: Callable[[str], object]) -> None:
        written.append(name)
        if len(written) == dies_at:
            raise KeyboardInterrupt
        replace(store, name, write)

    with monkeypatch.context() as patch:
        patch.setattr(LakeStore, "_replace", write_until_killed)
        if dies_at <= 14:
            with pytest.raises(KeyboardInterrupt):
                pull_at(lake, small, at(22))
        else:
            pull_at(lake, small, at(22))
            assert written[-1].endswith("manifest.json")
            assert len(written) == 14, "2 new raw files, 11 of the pull and its manifest"
            return
    assert pulls.kept_pulls(lake) == [whole]
    assert slice_of(lake, TRACKS, 21).is_empty()
    pulls.sweep(lake, pulls.kept_pulls(lake))
    assert set(lake.names("raw")) | set(lake.names("pulls")) == files
    assert pull_at(lake, small, at(22)).counts["tracks"].stored == 1


@pytest.mark.parametrize("gone", ["raw/tracks", "pulls/"])
def test_a_pull_whose_files_somebody_has_removed_is_not_kept(
    lake: LakeStore, small: ReferenceSource, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    whole = pull_at(lake, small)
    small.tracks.append(a_track(4, at(21, 9)))

    def somebody_removes(store: LakeStore, new: Pull) -> None:
        store.remove(next(name for name in store.names(gone) if new.name in name))
        refuse_unless_whole(store, new)

    with monkeypatch.context() as patch:
        patch.setattr(pull, "refuse_unless_whole", somebody_removes)
        with pytest.raises(StoreUnavailable, match="1 files that this pull has written are gone"):
            pull_at(lake, small, at(22))
    assert pulls.kept_pulls(lake) == [whole]
    assert pull_at(lake, small, at(22)).counts["tracks"].stored == 1


def test_a_torn_reading_keeps_nothing(lake: LakeStore, small: ReferenceSource) -> None:
    small.tracks[1] = small.tracks[0]
    with pytest.raises(SourceUnavailable):
        pull_at(lake, small)
    assert lake.names("raw") == lake.names("pulls") == []


@pytest.mark.parametrize("of", ["tracks", "users"])
def test_another_world_is_refused_and_changes_nothing(
    lake: LakeStore, small: ReferenceSource, of: str
) -> None:
    first = pull_at(lake, small)
    made = MADE[of]
    setattr(small, of, [made(number, at(5)) for number in (11, 12, 13, 14)])
    with pytest.raises(SourceContractError, match="started anew") as raised:
        pull_at(lake, small, at(22))
    assert of in str(raised.value)
    assert pulls.kept_pulls(lake) == [first]


@pytest.mark.parametrize("of", ["tracks", "users"])
def test_known_ids_that_stand_for_somebody_else_are_another_world(
    lake: LakeStore, small: ReferenceSource, of: str
) -> None:
    pull_at(lake, small)
    made = MADE[of]
    setattr(small, of, [made(number, at(7, number)) for number in (1, 2, 3)])
    with pytest.raises(SourceContractError, match=f"{of} of the last pull only 0 are left"):
        pull_at(lake, small, at(22))


def test_a_source_that_edits_every_record_is_the_same_world(
    lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    small.users = [user | {"gender": "Male"} for user in small.users]
    assert pull_at(lake, small, at(22)).counts["users"].stored == 2


def test_a_source_of_which_half_is_left_is_the_same_world(
    lake: LakeStore, small: ReferenceSource
) -> None:
    small.tracks.append(a_track(4, at(5)))
    pull_at(lake, small)
    del small.tracks[2:]
    second = pull_at(lake, small, at(22))
    assert second.counts["tracks"].known == 2


def test_a_reference_source_that_restarted_is_another_world(lake: LakeStore) -> None:
    with ReferenceSource(seed=9, records=120, now=at(21, 11)) as source:
        pull_at(lake, source)
        source.restart()
        with pytest.raises(SourceContractError, match="source accept-reset"):
            pull_at(lake, source, at(22))


def test_a_clock_that_was_set_back_does_not_make_an_older_pull(
    lake: LakeStore, small: ReferenceSource
) -> None:
    first = pull_at(lake, small)
    second = pull_at(lake, small, at(19))
    assert second.name > first.name
    assert second.over >= first.over
    assert pulls.newest_pull(lake) == second


def test_the_newest_pull_covers_the_days_that_were_over_when_it_began(
    lake: LakeStore, small: ReferenceSource
) -> None:
    assert covering_pull(lake, [day(20)]) is None
    pull = pull_at(lake, small)
    assert covering_pull(lake, [day(3), day(20)]) == pull
    assert covering_pull(lake, [day(20), day(21)]) is None


def test_an_empty_lake_has_no_slices(lake: LakeStore) -> None:
    assert pulls.newest_pull(lake) is None
    for endpoint in ENDPOINTS:
        found = slices.read_days(lake, endpoint, ALL_DAYS)
        assert found.is_empty()
        assert set(endpoint.schema) < set(found.columns)
        assert pulls.rejected_on(lake, endpoint, ALL_DAYS).is_empty()


def test_a_day_without_records_has_the_columns_of_one_with(
    lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    for endpoint in ENDPOINTS:
        some, none = slice_of(lake, endpoint, 5, 6, 12), slice_of(lake, endpoint, 19)
        assert some.height > 0
        assert none.is_empty()
        assert none.schema == some.schema


def test_plays_are_numbered_within_their_record_and_track() -> None:
    records = pl.DataFrame(
        {
            "user_id": [1, 1, 2],
            "created_at": [at(1), at(2), at(1)],
            "items": [[7, 8, 7, 7], [7], []],
            "listened_at": [[at(1)] * 4, [at(2)], []],
        }
    )
    found = explode(records)
    assert found.select("track_id", "nth").rows() == [(7, 1), (8, 1), (7, 2), (7, 3), (7, 1)]
    assert found.schema["nth"] == pl.Int16


def test_what_was_heard_stays_heard_when_a_later_content_names_less(
    lake: LakeStore, small: ReferenceSource
) -> None:
    small.listens = [a_listen(1, [2, 2, 3], at(19))]
    pull_at(lake, small)
    small.listens = [a_listen(1, [3, 2, 1], at(19), at(21))]
    pull_at(lake, small, at(22))
    plays = explode(slice_of(lake, LISTENS, 21)).sort("track_id", "nth")
    assert plays.select("track_id", "nth", "listened_at").rows() == [
        (1, 1, at(21)),
        (2, 1, at(19)),
        (2, 2, at(19)),
        (3, 1, at(19)),
    ]


def gone(lake: LakeStore, endpoint: Endpoint, pull: Pull) -> list[tuple[Any, ...]]:
    return pulls.gone_keys(lake, endpoint, pull).rows()


def test_what_a_pull_does_not_see_any_more_is_gone_since_the_first_that_missed_it(
    lake: LakeStore, small: ReferenceSource
) -> None:
    small.tracks.append(a_track(4, at(5)))
    first = pull_at(lake, small)
    assert gone(lake, TRACKS, first) == []
    track, user = small.tracks.pop(1), small.users.pop(1)
    second = pull_at(lake, small, at(22))
    assert gone(lake, TRACKS, second) == [(2, at(22))]
    assert gone(lake, USERS, second) == [(2, at(22))]
    small.tracks.pop(0)
    small.users.append(user)
    third = pull_at(lake, small, at(23))
    assert gone(lake, TRACKS, third) == [(1, at(23)), (2, at(22))]
    assert gone(lake, USERS, third) == []
    small.tracks.append(track)
    assert gone(lake, TRACKS, pull_at(lake, small, at(24))) == [(1, at(23))]


def test_a_record_that_breaks_the_contract_now_is_not_gone(
    lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    small.tracks[1] = small.tracks[1] | {"duration": "3.5"}
    small.users[1] = small.users[1] | {"id": "2"}
    second = pull_at(lake, small, at(22))
    assert second.counts["tracks"].rejected == 1
    assert gone(lake, TRACKS, second) == []
    assert gone(lake, USERS, second) == [(2, at(22))], "whose it is cannot be read"


def test_after_pulls_of_a_version_that_did_not_look_the_next_one_finds_all_that_is_gone(
    lake: LakeStore, small: ReferenceSource
) -> None:
    pull_at(lake, small)
    del small.tracks[2:]
    second = pull_at(lake, small, at(22))
    lake.remove(f"pulls/{second.name}/tracks.gone.parquet")
    assert gone(lake, TRACKS, second) == []
    assert gone(lake, TRACKS, pull_at(lake, small, at(23))) == [(3, at(23))]
