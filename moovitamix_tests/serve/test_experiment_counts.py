"""What every user did while an experiment ran: plays and feedback, each once, of its time alone."""

from __future__ import annotations

from datetime import timedelta

import redis

from moovitamix.recommend.arms import arm_of
from moovitamix.recommend.experiment_counts import count_by_user
from moovitamix.resources import Lake, Warehouse
from moovitamix_tests.serve.tried import SALT, Versions, start

HOUR = timedelta(hours=1)


def test_a_play_told_by_the_app_and_brought_by_a_pull_counts_once_and_only_since_the_start(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions
) -> None:
    begun, _ = start(warehouse, files, valkey, rivals.alike)
    heard = (begun.started_at + HOUR).replace(tzinfo=None)
    early = (begun.started_at - HOUR).replace(tzinfo=None)
    day = heard.date()
    with warehouse.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO activity (user_id, recorded_at, track_id, nth, listened_at, day)
               VALUES (%s, %s, %s, %s, %s, %s)""",
            [
                (5, heard, 110, 1, heard, day),
                (5, heard, 111, 1, heard, day),
                (5, early, 112, 1, early, day),
                (999, heard, 110, 1, heard, day),
            ],
        )
        cursor.execute(
            """INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth)
               VALUES (5, 110, %s, %s, 1), (6, 110, %s, %s, 1)""",
            (heard, heard, heard, heard),
        )
        connection.execute("UPDATE users SET withdrawn_at = now() WHERE id = 72")
        counts = count_by_user(connection, begun, begun.started_at + 2 * HOUR)
    plays = dict(counts.select("user_id", "plays").iter_rows())
    assert {user: count for user, count in plays.items() if count} == {5: 2, 6: 1}
    assert set(plays) == set(range(1, 72))
    assert all(
        arm == arm_of(user, SALT, 0.5) for user, arm in counts.select("user_id", "arm").iter_rows()
    )
    assert counts["impressions"].sum() == 0  # nobody keeps feedback here


def test_feedback_is_counted_by_user_and_plays_that_followed_an_impression(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions
) -> None:
    begun, _ = start(warehouse, files, valkey, rivals.alike)
    shown, early = begun.started_at + HOUR, begun.started_at - HOUR
    told = [
        (5, 110, "impression", shown),
        (5, 111, "impression", shown),
        (5, 110, "click", shown),
        (5, 111, "skip", shown),
        (5, 112, "hide", shown),
        (5, 113, "impression", early),
        (6, 110, "impression", shown),
    ]
    played = [(5, 110, shown + HOUR), (5, 111, shown - HOUR / 2), (6, 112, shown + HOUR)]
    with warehouse.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO feedback (user_id, track_id, kind, at, day) "
            "VALUES (%s, %s, %s, %s, '2026-11-26')",
            told,
        )
        cursor.executemany(
            """INSERT INTO activity (user_id, recorded_at, track_id, nth, listened_at, day)
               VALUES (%s, %s, %s, 1, %s, '2026-11-26')""",
            [
                (user, at.replace(tzinfo=None), track, at.replace(tzinfo=None))
                for user, track, at in played
            ],
        )
        counts = count_by_user(connection, begun, shown + 2 * HOUR)
    by_user = {row["user_id"]: row for row in counts.iter_rows(named=True)}
    columns = ("plays", "impressions", "clicks", "skips", "followed")
    assert [by_user[5][name] for name in columns] == [2, 2, 1, 1, 1]
    assert [by_user[6][name] for name in columns] == [1, 1, 0, 0, 0]
    assert [by_user[7][name] for name in columns] == [0, 0, 0, 0, 0]


def test_a_play_that_app_and_pull_date_differently_follows_an_impression_once(
    warehouse: Warehouse, files: Lake, valkey: redis.Redis, rivals: Versions
) -> None:
    begun, _ = start(warehouse, files, valkey, rivals.alike)
    shown = (begun.started_at + HOUR).replace(tzinfo=None)
    pulled, told = shown + HOUR / 4, shown + HOUR / 2
    with warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO feedback (user_id, track_id, kind, at, day) "
            "VALUES (5, 110, 'impression', %s, '2026-11-26')",
            (shown,),
        )
        connection.execute(
            "INSERT INTO activity (user_id, recorded_at, track_id, nth, listened_at, day) "
            "VALUES (5, %s, 110, 1, %s, '2026-11-26')",
            (pulled, told),
        )
        connection.execute(
            "INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth) "
            "VALUES (5, 110, %s, %s, 1)",
            (pulled, pulled),
        )
        counts = count_by_user(connection, begun, begun.started_at + 2 * HOUR)
    ((plays, followed),) = (
        counts.filter(counts["user_id"] == 5).select("plays", "followed").iter_rows()
    )
    assert (plays, followed) == (1, 1)
