"""What is due by itself: missing days in one run, a training once per cause, nothing twice."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from moovitamix import automation
from moovitamix.definitions import defs
from moovitamix.due import (
    Champion,
    Due,
    Loaded,
    Reportable,
    load_due,
    reading_due,
    report_due,
    training_due,
)
from moovitamix.recommend import registry
from moovitamix.recommend.gate import Decision
from moovitamix.resources import Cache, Lake, Warehouse

FIRST = date(2026, 11, 1)
NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
YESTERDAY = date(2026, 11, 21)


def days(first: int, last: int) -> set[date]:
    return {date(2026, 11, day) for day in range(first, last + 1)}


def loaded(first: int, last: int) -> Loaded:
    return Loaded(first=FIRST, published=days(first, last), newest_pull="p5")


def test_a_week_of_outage_is_one_run() -> None:
    due = load_due(loaded(1, 14), NOW, under_way=False)
    assert due is not None
    assert due.days == (date(2026, 11, 15), YESTERDAY)


def test_gaps_are_loaded_one_after_the_other() -> None:
    found = replace(loaded(1, 21), published=days(1, 5) | days(9, 12) | days(15, 21))
    due = load_due(found, NOW, under_way=False)
    assert due is not None
    assert due.days == (date(2026, 11, 6), date(2026, 11, 8))


def test_a_gap_that_cannot_be_loaded_does_not_keep_the_others_waiting_for_good() -> None:
    found = replace(loaded(1, 21), published=days(1, 5) | days(9, 12) | days(15, 21))
    asked = [load_due(found, NOW + timedelta(hours=hours), under_way=False) for hours in range(4)]
    assert {due.days for due in asked if due is not None} == {
        (date(2026, 11, 6), date(2026, 11, 8)),
        (date(2026, 11, 13), date(2026, 11, 14)),
    }


def test_nothing_is_asked_for_while_days_are_being_loaded_or_all_are_there() -> None:
    assert load_due(loaded(1, 14), NOW, under_way=True) is None
    assert load_due(loaded(1, 21), NOW, under_way=False) is None


def test_the_night_belongs_to_the_schedule() -> None:
    night = datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
    assert load_due(loaded(1, 20), night, under_way=False) is None
    assert load_due(loaded(1, 20), night + timedelta(hours=1), under_way=False) is not None


def test_what_fails_is_asked_for_once_an_hour() -> None:
    asked = {
        due.key
        for minutes in range(0, 60, 5)
        if (due := load_due(loaded(1, 20), NOW + timedelta(minutes=minutes), under_way=False))
    }
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("judged_on", "accepted", "again"),
    [("p5", False, False), ("p4", False, True), ("p5", True, True)],
)
def test_a_blocked_day_is_tried_again_with_a_newer_pull_or_when_it_was_accepted(
    judged_on: str, accepted: bool, again: bool
) -> None:
    blocked = date(2026, 11, 20)
    found = Loaded(
        first=FIRST,
        published=days(1, 21) - {blocked},
        blocked={blocked: judged_on},
        awaited={blocked} if accepted else frozenset(),
        newest_pull="p5",
    )
    due = load_due(found, NOW, under_way=False)
    assert (due.days if due else None) == ((blocked, blocked) if again else None)


CHAMPION = Champion(
    version=3, as_of=date(2026, 11, 18), promoted_at=datetime(2026, 11, 19, tzinfo=UTC)
)


def due_for(
    champion: Champion | None,
    *,
    now: datetime = NOW,
    newest: date | None = YESTERDAY,
    last: datetime | None = None,
    under_way: bool = False,
) -> Due | None:
    return training_due(
        champion,
        now,
        newest_day=newest,
        max_age=timedelta(days=7),
        cool_down=timedelta(days=2),
        last_training=last,
        under_way=under_way,
    )


def test_without_a_champion_one_is_trained_as_soon_as_there_is_data() -> None:
    assert due_for(None) is not None
    assert due_for(None, newest=None) is None
    assert due_for(None, under_way=True) is None


def test_a_young_champion_that_nothing_speaks_against_stays() -> None:
    assert due_for(CHAMPION) is None


def test_a_champion_past_its_age_is_followed() -> None:
    due = due_for(replace(CHAMPION, as_of=date(2026, 11, 10)))
    assert due is not None
    assert due.why == "The data of v3 is 11 days behind the newest day."


def test_drift_is_a_cause_of_its_own() -> None:
    due = due_for(replace(CHAMPION, drifted=("genre mix", "activity")))
    assert due is not None
    assert due.key.startswith("train:v3:drift:activity+genre mix:")


def test_a_champion_that_is_pinned_or_on_trial_is_left_alone_whatever_speaks_against_it() -> None:
    old = replace(CHAMPION, as_of=date(2026, 11, 1), drifted=("genre mix",))
    assert due_for(old) is not None
    assert due_for(replace(old, pinned=True)) is None
    assert due_for(replace(old, on_trial=True)) is None


def test_what_does_not_help_is_not_tried_again_before_the_cool_down_is_over() -> None:
    drifted = replace(CHAMPION, drifted=("genre mix",))
    asked: list[datetime] = []
    keys = set()
    for hours in range(0, 240, 2):  # ten days in which every training fails or is refused
        now = NOW + timedelta(hours=hours)
        due = due_for(drifted, now=now, last=asked[-1] if asked else None)
        if due is not None and due.key not in keys:
            keys.add(due.key)
            asked.append(now)
    assert len(asked) == 5
    assert min(later - sooner for sooner, later in itertools.pairwise(asked)) >= (timedelta(days=2))


def test_nothing_new_is_nothing_to_train_on() -> None:
    assert due_for(replace(CHAMPION, drifted=("genre mix",)), newest=CHAMPION.as_of) is None


LOADED_AT = datetime(2026, 11, 22, 3, tzinfo=UTC)


def read_due(read: tuple[date, datetime] | None, *, under_way: bool = False) -> Due | None:
    return reading_due((YESTERDAY, LOADED_AT), read, NOW, under_way=under_way)


def test_the_newest_day_is_read_for_drift_once_and_again_when_it_was_loaded_anew() -> None:
    due = read_due(None)
    assert due is not None
    assert due.days == (YESTERDAY, YESTERDAY)
    assert read_due((YESTERDAY - timedelta(days=1), NOW)) is not None
    assert read_due((YESTERDAY, LOADED_AT + timedelta(minutes=5))) is None
    assert read_due((YESTERDAY, LOADED_AT - timedelta(minutes=5))) is not None
    assert read_due(None, under_way=True) is None
    assert reading_due(None, None, NOW, under_way=False) is None


DONE = Reportable(outcome="published", reported=None, read=YESTERDAY, served=YESTERDAY)
AT_FOUR = datetime(2026, 11, 22, 4, tzinfo=UTC)


def report_is_due(
    found: Reportable, now: datetime = AT_FOUR, *, under_way: bool = False
) -> Due | None:
    return report_due(found, now, late_after=timedelta(hours=6), under_way=under_way)


def test_a_day_is_reported_once_when_it_is_read_and_served() -> None:
    due = report_is_due(DONE)
    assert due is not None
    assert due.days == (YESTERDAY, YESTERDAY)
    before = YESTERDAY - timedelta(days=1)
    for other in (
        replace(DONE, read=before),
        replace(DONE, read=None),
        replace(DONE, served=before),
        replace(DONE, served=None),
        replace(DONE, reported="published"),
    ):
        assert report_is_due(other) is None, other
    assert report_is_due(DONE, under_way=True) is None


def test_a_blocked_day_is_reported_without_waiting_to_be_served() -> None:
    blocked = replace(DONE, outcome="blocked", read=None, served=None)
    assert report_is_due(blocked) is not None
    assert report_is_due(replace(blocked, reported="blocked")) is None


def test_a_day_of_which_nothing_came_is_reported_when_it_is_late() -> None:
    missing = replace(DONE, outcome="missing", read=None, served=None)
    stuck = replace(DONE, served=None)
    for found in (missing, stuck):
        assert report_is_due(found) is None
        due = report_is_due(found, AT_FOUR + timedelta(hours=2))
        assert due is not None
        assert "late" in due.why
    nobody_waits = replace(missing, outcome=None)
    assert report_is_due(nobody_waits, AT_FOUR + timedelta(hours=9)) is None


def test_what_is_under_way_is_waited_for_but_not_for_ever() -> None:
    missing = replace(DONE, outcome="missing", read=None, served=None)
    for found in (missing, DONE):
        # The machine was off, and loads the day now.
        assert report_is_due(found, AT_FOUR + timedelta(hours=4), under_way=True) is None
        assert report_is_due(found, AT_FOUR + timedelta(hours=8), under_way=True) is not None


def test_a_day_that_was_reported_as_blocked_is_reported_again_when_it_is_served() -> None:
    assert report_is_due(replace(DONE, reported="blocked")) is not None
    assert report_is_due(replace(DONE, reported="missing", served=None)) is None


def test_what_fails_to_be_reported_is_asked_for_once_an_hour() -> None:
    asked = {
        due.key
        for minutes in range(0, 180, 5)
        if (due := report_is_due(DONE, AT_FOUR + timedelta(minutes=minutes)))
    }
    assert len(asked) == 3


def published(warehouse: Warehouse, some: set[date], pull: str = "p1") -> None:
    with warehouse.connect() as connection:
        connection.cursor().executemany(
            "INSERT INTO published_days (day, pull, run_id) VALUES (%s, %s, 'r1')",
            [(day, pull) for day in sorted(some)],
        )


def context(instance: dg.DagsterInstance, warehouse: Warehouse) -> dg.SensorEvaluationContext:
    return dg.build_sensor_context(instance=instance, resources={"warehouse": warehouse})


@pytest.fixture
def at_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    from moovitamix.settings import get_settings

    monkeypatch.setenv("MOOVITAMIX_NOW", NOW.isoformat())
    monkeypatch.setenv("MOOVITAMIX_FIRST_DAY", FIRST.isoformat())
    get_settings.cache_clear()


@pytest.mark.usefixtures("at_ten")
def test_the_sensor_asks_for_a_range_of_days_or_a_day(warehouse: Warehouse) -> None:
    published(warehouse, days(1, 14))
    with dg.instance_for_test() as instance:
        asked = automation.load_missing_days(context(instance, warehouse))
        assert isinstance(asked, dg.RunRequest)
        assert asked.tags["dagster/asset_partition_range_start"] == "2026-11-15"
        assert asked.tags["dagster/asset_partition_range_end"] == "2026-11-21"
        published(warehouse, days(15, 20))
        asked = automation.load_missing_days(context(instance, warehouse))
        assert isinstance(asked, dg.RunRequest)
        assert asked.partition_key == "2026-11-21"
        published(warehouse, days(21, 21))
        assert isinstance(automation.load_missing_days(context(instance, warehouse)), dg.SkipReason)


@pytest.mark.usefixtures("at_ten")
def test_what_somebody_materializes_in_the_ui_is_under_way_too(warehouse: Warehouse) -> None:
    published(warehouse, days(1, 20))
    assets = defs.resolve_implicit_global_asset_job_def()

    def asks(instance: dg.DagsterInstance) -> bool:
        found = automation.load_missing_days(context(instance, warehouse))
        return isinstance(found, dg.RunRequest)

    with dg.instance_for_test() as instance:
        assert asks(instance)
        pull = ("raw_listen_history", "raw_tracks", "raw_users")
        for made, asked in ((("champion_model",), True), (pull, False)):
            run = instance.create_run_for_job(
                assets,
                status=dg.DagsterRunStatus.STARTED,
                asset_selection={dg.AssetKey(name) for name in made},
            )
            assert asks(instance) is asked
            instance.report_run_canceled(run)
        assert asks(instance)


@pytest.mark.usefixtures("at_ten")
def test_the_sensor_asks_for_the_first_training_and_not_again_while_it_is_fresh(
    warehouse: Warehouse,
) -> None:
    published(warehouse, days(1, 21))
    with dg.instance_for_test() as instance:
        asked = automation.keep_champion(context(instance, warehouse))
        assert isinstance(asked, dg.RunRequest)
        assert asked.tags[automation.WHY] == "There is no champion yet."
        with warehouse.connect() as connection:
            registered = registry.register(
                connection,
                run_id="r1",
                as_of=YESTERDAY,
                pull="p1",
                matrix_fingerprint="",
                parameters={},
                artifact="",
            )
            decision = Decision("cannot tell", "als", True, "first")
            registry.promote(connection, registered.version, decision)
        assert isinstance(automation.keep_champion(context(instance, warehouse)), dg.SkipReason)
        asked = automation.watch_days(context(instance, warehouse))
        assert isinstance(asked, dg.RunRequest)
        assert (asked.partition_key, asked.run_key is not None) == ("2026-11-21", True)


@pytest.fixture
def drifted(warehouse: Warehouse) -> Warehouse:
    """A champion, from whose data the newest day has drifted."""
    published(warehouse, days(1, 21))
    with warehouse.connect() as connection:
        registered = registry.register(
            connection,
            run_id="r1",
            as_of=date(2026, 11, 18),
            pull="p1",
            matrix_fingerprint="",
            parameters={},
            artifact="",
        )
        decision = Decision("cannot tell", "als", True, "first")
        registry.promote(connection, registered.version, decision)
        connection.execute(
            "INSERT INTO drift_readings (day, feature, model_version, verdict) "
            "VALUES (%s, 'genre mix', %s, 'drifted'), (%s, 'activity', %s, 'steady')",
            (YESTERDAY, registered.version) * 2,
        )
    return warehouse


@pytest.mark.usefixtures("at_ten")
def test_drift_of_the_newest_day_asks_for_a_training(drifted: Warehouse) -> None:
    with dg.instance_for_test() as instance:
        asked = automation.keep_champion(context(instance, drifted))
    assert isinstance(asked, dg.RunRequest)
    assert "genre mix" in asked.tags[automation.WHY]


def test_a_model_that_somebody_fitted_in_the_ui_begins_the_cool_down(drifted: Warehouse) -> None:
    assets = defs.resolve_implicit_global_asset_job_def()

    def asks(instance: dg.DagsterInstance) -> bool:
        return isinstance(automation.keep_champion(context(instance, drifted)), dg.RunRequest)

    with dg.instance_for_test() as instance:
        for made, asked in (("user_features", True), ("als_model", False)):
            run = instance.create_run_for_job(
                assets, status=dg.DagsterRunStatus.STARTED, asset_selection={dg.AssetKey(made)}
            )
            instance.report_run_canceled(run)
            assert asks(instance) is asked


def test_stores_that_are_down_make_sensors_look_again_later() -> None:
    nowhere = Warehouse(url="postgresql://127.0.0.1:1/x", namespace="test")
    with dg.instance_for_test() as instance:
        for sensor in (
            automation.load_missing_days,
            automation.watch_days,
            automation.keep_champion,
        ):
            assert isinstance(sensor(context(instance, nowhere)), dg.SkipReason)
        looked = automation.keep_serving(
            dg.build_sensor_context(
                instance=instance,
                resources={
                    "warehouse": nowhere,
                    "cache": Cache(url="redis://127.0.0.1:1", namespace="test"),
                },
            )
        )
        assert isinstance(looked, dg.SkipReason)


@pytest.mark.usefixtures("at_ten")
def test_the_sensor_asks_for_the_report_of_yesterday_and_waits_for_nothing_that_is_down(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    from moovitamix.observe import report_sensors

    lake = Lake(url=(tmp_path / "lake").as_uri())
    gone = Cache(url="redis://127.0.0.1:1", namespace="test")

    def looked(stores: Warehouse, instance: dg.DagsterInstance) -> object:
        resources = {"lake": lake, "warehouse": stores, "cache": gone}
        return report_sensors.write_report(
            dg.build_sensor_context(instance=instance, resources=resources)
        )

    with dg.instance_for_test() as instance:
        assert isinstance(looked(warehouse, instance), dg.SkipReason)
        published(warehouse, days(1, 20))
        asked = looked(warehouse, instance)
        assert isinstance(asked, dg.RunRequest)
        assert (asked.partition_key, asked.tags[automation.WHY]) == (
            "2026-11-21",
            "2026-11-21 is missing, and late.",
        )
        nowhere = Warehouse(url="postgresql://127.0.0.1:1/x", namespace="test")
        assert isinstance(looked(nowhere, instance), dg.SkipReason)
        unsent = report_sensors.send_report(
            dg.build_sensor_context(instance=instance, resources={"lake": lake})
        )
    assert isinstance(unsent, dg.SkipReason)
    assert "names no channel" in (unsent.skip_message or "")
