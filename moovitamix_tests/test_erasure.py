"""An erased user is nowhere, stays away, and nobody else loses anything."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString

import numpy as np
import polars as pl
import psycopg
import pytest
import redis

from moovitamix import erasure
from moovitamix.erasure import Erasure, erase_users, holdings
from moovitamix.erasure_checks import no_erased_user_left
from moovitamix.errors import StoreUnavailable
from moovitamix.ingest.erased import KEY_FILE
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import newest_pull
from moovitamix.recommend import artifacts
from moovitamix.resources import Lake, Warehouse
from moovitamix.serve import people as in_cache
from moovitamix.serve.generations import read_current
from moovitamix.traces import traces_of_erased
from moovitamix.warehouse import people as in_tables
from moovitamix.warehouse.erasures import those_erased
from moovitamix.warehouse.export_folder import verify_export
from moovitamix.warehouse.exports import export
from moovitamix_tests.ingest.pulling import a_listen, a_user, at, pull_at
from moovitamix_tests.locks import lose
from moovitamix_tests.peopled import (
    HER,
    HER_ACCOUNT,
    OTHERS,
    Peopled,
    adds_up,
    her_record,
    make_peopled,
)
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.warehouse.loading import load, rows_of
from moovitamix_tests.warehouse.telling import tell_within

CHECK = ("users", "no_erased_user_left")

PLACES = {
    *("users", "user_favorite_genres", "listen_history", "quarantine"),
    *("staged_users", "staged_listens"),
    *("activity", "activity_marks"),
    *("raw/users", "raw/listen_history"),
    *("pulls/users.index", "pulls/users.seen", "pulls/users.rejected"),
    *("pulls/listen_history.index", "pulls/listen_history.seen", "pulls/listen_history.rejected"),
    *("recommend/user_features", "recommend/matrix", "recommend/models"),
}

TRACES: LiteralString = """
INSERT INTO users SELECT %(id)s, '', '', '', '', %(at)s, %(at)s, '';
INSERT INTO user_favorite_genres SELECT %(id)s, min(id) FROM genres;
INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth)
VALUES (%(id)s, 1, now(), now(), 1);
INSERT INTO staged_users (id, created_at, run_id, pull) VALUES (%(id)s, %(at)s, '', '');
INSERT INTO staged_listens (user_id, recorded_at, run_id, pull) VALUES (%(id)s, %(at)s, '', '');
INSERT INTO activity (user_id, recorded_at, track_id, nth, listened_at, day)
VALUES (%(id)s, %(at)s, 1, 1, %(at)s, %(at)s);
INSERT INTO activity_marks (user_id, mark) VALUES (%(id)s, 1);
INSERT INTO quarantine (endpoint, sha256, payload, day, pull, reason)
VALUES ('listen_history', 'x', convert_to('{"user_id":' || %(id)s || '}', 'UTF8'), now(), '', '');
"""


@pytest.fixture
def peopled(
    warehouse: Warehouse, lake: LakeStore, valkey: redis.Redis, source: ReferenceSource
) -> Peopled:
    return make_peopled(warehouse, lake, valkey, source)


def erase(world: Peopled, *ids: int, for_good: bool = True, **named: Any) -> Erasure:
    return erase_users(
        world.warehouse,
        world.lake,
        world.cache,
        ids or (HER,),
        spool=Path(world.lake.url.removeprefix("file://")).parent / "spool",
        for_good=for_good,
        **named,
    )


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_waited_for(connection: psycopg.Connection, table: LiteralString) -> bool:
    """Whether somebody waits for a lock of a table of ours."""
    query = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = %s::regclass)"
    return connection.execute(query, (table,)).fetchone() == (True,)


def pull_without_erased(world: Peopled, day: int) -> dict[str, int]:
    """Pull, load the day before; how many records were left out, by endpoint."""
    pull = pull_at(
        world.lake, world.source, at(day), erased=those_erased(world.warehouse, world.lake)
    )
    load(world.warehouse, world.lake, day - 1)
    assert all(
        n.distinct == n.stored + n.known + n.waiting + n.rejected + n.erased
        for n in pull.counts.values()
    )
    return {name: n.erased for name, n in pull.counts.items() if n.erased}


def test_an_erased_user_is_nowhere_and_everybody_else_is_as_before(peopled: Peopled) -> None:
    matrix = artifacts.load_current_matrix(peopled.lake)
    model = artifacts.load_model(peopled.lake, "recommend/models/run=r")
    keys = {key for key in peopled.client.keys("*") if str(HER) not in str(key)}
    others = peopled.contents_of_others()
    assert set(holdings(peopled.warehouse, peopled.lake, [HER])) == PLACES
    assert len(peopled.mentions()) > len(PLACES)

    assert adds_up(peopled.lake)
    erased = erase(peopled)
    assert peopled.mentions() == []
    assert adds_up(peopled.lake)
    assert erased.rows["users"] == 1
    assert erased.rows["genres"] == 1
    assert (erased.features, erased.matrices, erased.models, erased.keys) == (1, 2, 1, 4)
    assert peopled.contents() == others
    assert set(peopled.client.keys("*")) == keys
    assert peopled.lake.exists(KEY_FILE)

    rest = artifacts.load_current_matrix(peopled.lake)
    assert rest.users.tolist() == [user for user in matrix.users.tolist() if user != HER]
    for user in rest.users.tolist():
        assert _row(rest, user) == _row(matrix, user)
    forgetful = artifacts.load_model(peopled.lake, "recommend/models/run=r")
    assert forgetful.users.tolist() == [user for user in model.users.tolist() if user != HER]
    assert np.array_equal(forgetful.item_factors, model.item_factors)
    assert np.array_equal(forgetful.user_factors, model.user_factors[model.users != HER])
    served = read_current(peopled.client, peopled.warehouse.schema_name)
    assert served is not None
    assert served.matrix_fingerprint == rest.fingerprint
    assert served.keys["u"] == len(peopled.client.keys(f"*:{served.name}:u:*")) > 0
    assert peopled.client.ttl(f"{peopled.warehouse.schema_name}:{served.name}:meta") > 0

    files = {name: peopled.lake.read_bytes(name) for name in peopled.lake.names("")}
    assert not erase(peopled), "once more, it does nothing"
    assert files == {name: peopled.lake.read_bytes(name) for name in peopled.lake.names("")}


def _row(matrix: Any, user: int) -> dict[int, float]:
    row = matrix.values[int(np.searchsorted(matrix.users, user))]
    return dict(zip(matrix.tracks[row.indices].tolist(), row.data.tolist(), strict=True))


def test_pulls_leave_an_erased_user_out_until_somebody_else_has_the_id(peopled: Peopled) -> None:
    erase(peopled)
    peopled.source.users.append(her_record(gender=None))
    left_out = pull_without_erased(peopled, 24)
    assert left_out == {"users": 2, "listen_history": 3}
    assert peopled.mentions() == []
    newest = newest_pull(peopled.lake)
    assert newest is not None
    assert newest.counts["users"].rejected == 0

    # A new account is given her id; what is older than it stays hers.
    del peopled.source.users[-2:]
    peopled.source.users.append(a_user(HER, at(24, 9), email="successor@example.org"))
    peopled.source.listens += [a_listen(HER, [5], at(23, 10)), a_listen(HER, [6], at(24, 10))]
    assert pull_without_erased(peopled, 25) == {"listen_history": 4}
    with peopled.warehouse.connect() as connection:
        row = connection.execute("SELECT email FROM users WHERE id = %s", (HER,)).fetchone()
    assert row == ("successor@example.org",)
    plays = rows_of(peopled.warehouse, "SELECT user_id, track_id FROM listen_history")
    assert [track for user, track in plays if user == HER] == [6]
    assert traces_of_erased(peopled.warehouse, peopled.lake) == {}

    # And may be erased in turn.
    erase(peopled)
    assert pull_without_erased(peopled, 26) == {"users": 1, "listen_history": 5}
    assert peopled.mentions() == []


@pytest.mark.parametrize("listened", [True, False])
def test_whoever_is_erased_before_any_pull_has_seen_them_stays_away_too(
    peopled: Peopled, listened: bool
) -> None:
    unseen = HER + 1
    peopled.source.users.append(a_user(unseen, at(23, 15)))
    peopled.source.listens.append(a_listen(unseen, [1], at(23, 15, 10)))
    if listened:
        with peopled.warehouse.connect() as connection:
            tell_within(connection, unseen, at(23, 15, 10), [1])
    erase(peopled, unseen)
    with peopled.warehouse.connect() as connection:  # the world's clock is not the database's
        connection.execute("UPDATE erasures SET erased_at = %s", (f"{at(23, 16)}+00",))
    assert pull_without_erased(peopled, 24) == {"users": 1, "listen_history": 1}
    plays = "SELECT DISTINCT user_id FROM listen_history"
    assert (unseen,) not in rows_of(peopled.warehouse, plays)
    assert traces_of_erased(peopled.warehouse, peopled.lake) == {}

    # Who is given the id after that is somebody else.
    peopled.source.users[-1] = a_user(unseen, at(24, 9))
    peopled.source.listens.append(a_listen(unseen, [2], at(24, 10)))
    assert pull_without_erased(peopled, 25) == {"listen_history": 1}
    assert (unseen,) in rows_of(peopled.warehouse, plays)
    assert traces_of_erased(peopled.warehouse, peopled.lake) == {}


def test_whoever_was_erased_for_being_gone_is_let_in_when_the_source_shows_them_again(
    peopled: Peopled,
) -> None:
    her = peopled.source.users.pop()
    erase(peopled, for_good=False)
    assert pull_without_erased(peopled, 24) == {"listen_history": 3}
    assert peopled.mentions() == []
    peopled.source.users.append(her)
    assert pull_without_erased(peopled, 25) == {}
    assert traces_of_erased(peopled.warehouse, peopled.lake) == {}
    plays = rows_of(peopled.warehouse, "SELECT user_id, track_id FROM listen_history")
    assert sorted(track for user, track in plays if user == HER) == [1, 2, 3]


class Killed(BaseException):
    """As a process ends that is killed: nothing after it is executed."""


def test_an_erasure_that_is_killed_after_any_step_is_completed_by_the_next(
    peopled: Peopled, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = peopled.contents_of_others()

    kills, lives, alive = 0, 1, False

    def mortal(step: Callable[..., Any]) -> Callable[..., Any]:
        def work(*arguments: Any, **named: Any) -> Any:
            nonlocal lives
            done = step(*arguments, **named)
            lives -= 1
            if lives <= 0:
                raise Killed
            return done

        return work

    local: Any = type(peopled.lake._files)
    with monkeypatch.context() as patch:
        patch.setattr(local, "mv", mortal(local.mv))
        patch.setattr(local, "rm", mortal(local.rm))
        for module, step in (
            (erasure, "remember"),
            (in_tables, "erase_rows"),
            (in_cache, "_amend"),
        ):
            patch.setattr(module, step, mortal(getattr(module, step)))
        # Each attempt is to get a little further than the one before, where that got anywhere.
        granted, left = 1, len(peopled.mentions())
        while not alive and kills < 60:
            lives = granted
            try:
                erase(peopled)
                alive = True
            except Killed:
                kills += 1
                got_further = len(peopled.mentions()) < left
                left = len(peopled.mentions())
                granted += not got_further
    assert alive
    assert kills >= 10, kills
    assert peopled.mentions() == []
    assert peopled.contents() == others
    assert those_erased(peopled.warehouse, peopled.lake).is_person(HER, HER_ACCOUNT)


def test_the_check_finds_a_trace_in_any_table_and_any_kind_of_file(peopled: Peopled) -> None:
    lake, warehouse = peopled.lake, peopled.warehouse

    def places() -> dict[str, int]:
        result: Any = no_erased_user_left(Lake(url=lake.url), warehouse)
        found: dict[str, int] = result.metadata["places"].value
        assert result.passed == (found == {})
        return dict(found)

    with_her = {re.sub(r"[\d-]+", "", name): name for name in peopled.mentions() if "/" in name}
    before = {name: lake.read_bytes(name) for name in with_her.values()}
    assert places() == {}, "nobody was ever erased"
    erase(peopled)
    assert places() == {}
    for name, content in before.items():
        now = lake.read_bytes(name) if lake.exists(name) else None
        lake.write_bytes(name, content)
        assert list(places().values()) == [1], f"not found: {name}"
        lake.remove(name)
        if now is not None:
            lake.write_bytes(name, now)
    newest = newest_pull(lake)
    assert newest is not None
    file = f"pulls/{newest.name}/users.gone.parquet"
    kept = lake.read_parquet([file])
    gone = pl.DataFrame({"id": [HER], "since": [at(20)]}, schema=kept.schema)
    lake.write_parquet(file, gone)
    assert places() == {"pulls/users.gone": 1}
    lake.write_parquet(file, kept)

    with warehouse.connect() as connection:
        for statement in TRACES.strip().split(";\n"):
            connection.execute(statement.removesuffix(";"), {"id": HER, "at": HER_ACCOUNT})
    assert places() == dict.fromkeys(
        [
            *("users", "user_favorite_genres", "listen_history", "quarantine"),
            *("staged_users", "staged_listens"),
            *("activity", "activity_marks"),
        ],
        1,
    )
    erase(peopled)
    assert places() == {}


def test_exports_forget_the_erased_too_and_the_check_looks_into_them(
    peopled: Peopled, tmp_path: Path
) -> None:
    folder, gone = tmp_path / "tables", tmp_path / "gone"
    export(peopled.warehouse, {"csv": folder, "parquet": folder})
    export(peopled.warehouse, {"csv": gone})
    shutil.rmtree(gone)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert holdings(peopled.warehouse, peopled.lake, [HER])["exports/users"] == 2

    erased = erase(peopled)
    tables = ("users", "user_favorite_genres", "listen_history")
    assert erased.exported == 2 * sum(erased.rows[table] for table in tables) > 6
    assert erased.elsewhere == [gone]
    assert verify_export(folder) == []
    users = pl.read_parquet(folder / "users.parquet")["id"].to_list()
    assert users == pl.read_csv(folder / "users.csv")["id"].to_list() == [*OTHERS]
    for name in ("users.csv", "listen_history.parquet"):
        now = (folder / name).read_bytes()
        (folder / name).write_bytes(before[name])
        traces = traces_of_erased(peopled.warehouse, peopled.lake)
        assert traces == {f"exports/{name.partition('.')[0]}": 1}
        (folder / name).write_bytes(now)
    assert traces_of_erased(peopled.warehouse, peopled.lake) == {}


def test_what_the_app_tells_while_she_is_erased_does_not_survive_it(peopled: Peopled) -> None:
    done = threading.Event()

    def work() -> None:
        erase(peopled)
        done.set()

    eraser = threading.Thread(target=work)
    with peopled.warehouse.connect() as api, peopled.warehouse.connect() as watching:
        tell_within(api, HER, at(23, 9), [1])
        eraser.start()
        until(lambda: is_waited_for(watching, "activity"))
        assert not done.is_set()
        api.commit()
    assert done.wait(20)
    eraser.join()
    assert peopled.mentions() == []


def test_what_the_app_begins_to_tell_while_rows_are_deleted_waits_for_the_end(
    peopled: Peopled,
) -> None:
    with peopled.warehouse.connect() as erasing, peopled.warehouse.connect() as api:
        api.execute("SET lock_timeout = '10ms'")
        in_tables.erase_rows(erasing, [HER])
        with pytest.raises(psycopg.errors.LockNotAvailable):
            tell_within(api, 2, at(23, 9), [1])
        # Who reads them, and all other tables, does not wait.
        assert rows_of(peopled.warehouse, "SELECT user_id FROM activity WHERE user_id = 2")


def test_a_pull_and_a_step_that_are_under_way_are_waited_for(peopled: Peopled) -> None:
    waited: list[str] = []
    done = threading.Event()

    def work() -> None:
        erase(peopled, on_wait=notice)
        done.set()

    def notice() -> None:
        waited.append(".")
        noticed.set()

    for lock in ("pull", "people"):
        noticed = threading.Event()
        done.clear()
        with peopled.warehouse.lock(lock, shared=lock == "people"):
            with peopled.warehouse.hold_erasures():
                pass  # steps do not wait for each other
            eraser = threading.Thread(target=work)
            eraser.start()
            assert noticed.wait(20)
            assert not done.is_set()
            if lock == "pull":
                assert peopled.mentions()
        assert done.wait(20)
        eraser.join()
    assert len(waited) == 2
    assert peopled.mentions() == []


@pytest.mark.parametrize("lock", ["pull", "people"])
def test_an_erasure_whose_lock_is_lost_ends_and_is_completed_by_the_next(
    peopled: Peopled, lock: str
) -> None:
    told: list[str] = []

    def tell(done: str) -> None:
        told.append(done)
        lose(peopled.warehouse, lock)

    with pytest.raises(StoreUnavailable, match=f"session that held the lock `{lock}`"):
        erase(peopled, tell=tell)
    assert len(told) == 1
    assert "table users" in peopled.mentions()
    erase(peopled, 1)
    assert peopled.mentions() == []


def test_without_the_key_no_pull_brings_anybody_back(peopled: Peopled) -> None:
    erase(peopled)
    peopled.lake.remove(KEY_FILE)
    with pytest.raises(StoreUnavailable, match="backup"):
        those_erased(peopled.warehouse, peopled.lake)
    with pytest.raises(StoreUnavailable, match="backup"):
        erase(peopled, 2)
    assert not peopled.lake.exists(KEY_FILE)
