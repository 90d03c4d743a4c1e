"""The demonstration world is deterministic, and grows as a live source does."""

import tracemalloc
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moovitamix.embedded.demo_source.clock import SimulatedClock
from moovitamix.embedded.demo_source.records import ListenRecord
from moovitamix.embedded.demo_source.world import DemoParameters, DemoWorld
from moovitamix.errors import SettingsError

FIRST_DAY = date(2026, 9, 24)
SMALL = DemoParameters(first_day=FIRST_DAY, days=20, users=400, tracks=500, listens=8_000)
START = datetime.fromisoformat("2026-09-24")
NOON = START + timedelta(days=19, hours=12)


def all_listens(world: DemoWorld, now: datetime) -> list[ListenRecord]:
    return world.listens(0, world.count_listens(now), now)


def listen_key(listen: ListenRecord) -> tuple[int, str]:
    return listen.user_id, listen.created_at


def test_equal_parameters_make_equal_worlds_and_another_seed_another_one() -> None:
    world, same = DemoWorld(SMALL), DemoWorld(SMALL)
    other = DemoWorld(
        DemoParameters(seed=21, first_day=FIRST_DAY, days=20, users=400, tracks=500, listens=8_000)
    )
    listens = all_listens(world, NOON)
    assert listens == all_listens(same, NOON)
    assert world.tracks(0, 500, NOON) == same.tracks(0, 500, NOON)
    assert world.users(0, 400, NOON) == same.users(0, 400, NOON)
    assert listens != all_listens(other, NOON)
    ids = {track.id for track in world.tracks(0, 450, NOON)}
    assert len(ids & {track.id for track in other.tracks(0, 450, NOON)}) < 45


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    first=st.integers(0, 1_600),
    length=st.integers(1, 200),
    days_before=st.integers(0, 40),
)
def test_a_slice_is_the_same_whatever_was_asked_before(
    seed: int, first: int, length: int, days_before: int
) -> None:
    parameters = DemoParameters(
        seed=seed, first_day=FIRST_DAY, days=20, users=50, tracks=60, listens=8_000
    )
    fresh, used = DemoWorld(parameters), DemoWorld(parameters)
    all_listens(used, START + timedelta(days=days_before))
    now = START + timedelta(days=25)
    stop = min(first + length, fresh.count_listens(now))
    assert fresh.listens(first, stop, now) == used.listens(first, stop, now)


@settings(max_examples=40)
@given(hours=st.integers(-100_000, 10_000), later=st.integers(0, 2_000))
def test_counts_never_fall_and_agree_with_the_records(hours: int, later: int) -> None:
    world = DemoWorld(SMALL)
    now = START + timedelta(hours=hours)
    then = now + timedelta(hours=later)
    for count, records in (
        (world.count_tracks, world.tracks),
        (world.count_users, world.users),
        (world.count_listens, world.listens),
    ):
        there, there_then = count(now), count(then)
        assert there <= there_then
        last = records(max(0, there - 1), there, now)
        assert all(record.created_at <= now.isoformat(timespec="microseconds") for record in last)
        if there < there_then:
            next_one = records(there, there + 1, then)[0]
            assert next_one.created_at > now.isoformat(timespec="microseconds")


def test_a_day_later_the_world_has_the_old_records_and_a_new_day() -> None:
    world = DemoWorld(SMALL)
    today, tomorrow = START + timedelta(days=30), START + timedelta(days=31)
    before, after = all_listens(world, today), all_listens(world, tomorrow)
    assert [listen_key(listen) for listen in after[: len(before)]] == list(map(listen_key, before))
    new = after[len(before) :]
    assert 40 < len(new) < 200
    assert all(listen.created_at.startswith("2026-10-24") for listen in new)
    assert {t.id for t in world.tracks(0, world.count_tracks(today), today)} < {
        t.id for t in world.tracks(0, world.count_tracks(tomorrow + timedelta(days=3)), tomorrow)
    }
    assert world.count_users(tomorrow) > world.count_users(today)


def test_an_edit_is_dated_at_its_moment_and_shown_from_then_on() -> None:
    world = DemoWorld(DemoParameters(first_day=FIRST_DAY))
    today, later = NOON, NOON + timedelta(days=10)
    tracks = [world.tracks(0, world.count_tracks(today), now) for now in (today, later)]
    users = [world.users(0, world.count_users(today), now) for now in (today, later)]
    moments: set[str] = set()
    for old_track, track in zip(*tracks, strict=True):
        assert (old_track != track) == (old_track.album != track.album)
        moments.update({track.updated_at} if old_track != track else ())
    edited_tracks = len(moments)
    for old_user, user in zip(*users, strict=True):
        assert (old_user != user) == (old_user.email != user.email)
        moments.update({user.updated_at} if old_user != user else ())
    assert 3 <= edited_tracks <= 30
    assert 5 <= len(moments) - edited_tracks <= 60
    assert all(today.isoformat() < moment <= later.isoformat() for moment in moments)
    last_edit = datetime.fromisoformat(max(moments))
    just_before = last_edit - timedelta(microseconds=1)
    states = [
        [
            *world.tracks(0, world.count_tracks(today), now),
            *world.users(0, world.count_users(today), now),
        ]
        for now in (just_before, last_edit)
    ]
    assert sum(a != b for a, b in zip(*states, strict=True)) == 1


def test_a_few_listens_grow_within_hours_and_keep_what_they_had() -> None:
    world = DemoWorld(SMALL)
    evening = START + timedelta(days=12, hours=21)
    before = all_listens(world, evening)
    after = world.listens(0, len(before), evening + timedelta(hours=7))
    grown = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert grown
    for short, long in grown:
        assert short.updated_at == short.created_at == long.created_at
        assert evening.isoformat() < long.updated_at
        assert len(short.items) < len(long.items)
        assert long.items[: len(short.items)] == short.items
    ever = sum(listen.updated_at != listen.created_at for listen in after)
    assert 0.03 < ever / len(after) < 0.08
    assert after == world.listens(0, len(before), evening + timedelta(days=9))


def test_listens_are_unique_in_order_and_name_what_exists() -> None:
    world = DemoWorld(SMALL)
    listens = all_listens(world, NOON)
    times = [listen.created_at for listen in listens]
    assert times == sorted(set(times))
    accounts = {user.id: user.created_at for user in world.users(0, world.count_users(NOON), NOON)}
    released = {
        track.id: track.created_at for track in world.tracks(0, world.count_tracks(NOON), NOON)
    }
    for listen in listens:
        assert 1 <= len(listen.items) <= 12
        assert accounts[listen.user_id] < listen.created_at
        assert all(released[track] < listen.created_at for track in listen.items)


@pytest.mark.parametrize(("listens", "margin"), [(1_000, 0.12), (8_000, 0.05), (100_000, 0.02)])
def test_sizes_are_what_was_asked_for(listens: int, margin: float) -> None:
    world = DemoWorld(DemoParameters(first_day=FIRST_DAY, listens=listens))
    end = START + timedelta(days=60)
    heard = sum(
        len(listen.items)
        for listen in world.listens(0, world.count_listens(end), end + timedelta(hours=6))
    )
    assert heard == pytest.approx(listens, rel=margin)
    assert world.count_users(end) == pytest.approx(3_000, abs=2)
    assert world.count_tracks(end) == pytest.approx(4_000, abs=2)
    assert world.count_users(START) > 2_400
    year = world.count_listens(end + timedelta(days=360)) - world.count_listens(end)
    assert year == pytest.approx(6 * world.count_listens(end), rel=0.03)


def test_the_last_page_of_a_huge_world_needs_a_few_days_of_memory() -> None:
    tracemalloc.start()
    try:
        world = DemoWorld(
            DemoParameters(first_day=FIRST_DAY, users=20_000, tracks=20_000, listens=5_000_000)
        )
        now = START + timedelta(days=60)
        total = world.count_listens(now)
        page = world.listens(total - 100, total, now)
        for first in range(0, total, total // 30):
            world.listens(first, first + 100, now)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total > 900_000
    assert len(page) == 100
    assert page[-1].created_at.startswith("2026-11-22T23:59")
    # With every day that was asked for kept it would be 58 MB.
    assert peak < 45_000_000


@pytest.mark.parametrize("field", ["days", "users", "tracks", "listens"])
def test_a_world_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(SettingsError, match="give at least 1"):
        DemoParameters(first_day=FIRST_DAY, **{field: 0})


def test_the_smallest_world_works() -> None:
    world = DemoWorld(DemoParameters(first_day=FIRST_DAY, days=1, users=1, tracks=1, listens=1))
    now = START + timedelta(days=400)
    listens = all_listens(world, now)
    assert len(listens) == world.count_listens(now) > 50
    tracks = {track.id for track in world.tracks(0, world.count_tracks(now), now)}
    assert all(tracks.issuperset(listen.items) for listen in listens)


def test_before_its_first_day_the_world_has_no_listens() -> None:
    world = DemoWorld(SMALL)
    assert world.count_listens(START - timedelta(seconds=1)) == 0
    assert 0 < world.count_users(START - timedelta(days=300)) < world.count_users(START)
    assert world.count_users(START - timedelta(days=100_000)) == 0


def test_a_simulated_clock_starts_where_told_and_runs_at_its_speed() -> None:
    assert SimulatedClock(START, speed=0)() == START
    aware = datetime.fromisoformat("2026-09-24T02:00:00+02:00")
    assert SimulatedClock(aware, speed=0)() == START
    hasty = SimulatedClock(START, speed=1e9)
    first = hasty()
    assert START <= first < hasty()
    before = datetime.now(UTC).replace(tzinfo=None)
    assert before <= SimulatedClock()() <= datetime.now(UTC).replace(tzinfo=None)
    with pytest.raises(SettingsError, match="give 0 or a number above"):
        SimulatedClock(START, speed=-1)
