"""`drift`, as one types it."""

from __future__ import annotations

import json
from datetime import date

from moovitamix.errors import NothingToDo
from moovitamix.observe.drift import Reading
from moovitamix.observe.drift_null import Bound
from moovitamix.observe.drift_store import Against, write_readings
from moovitamix.resources import Warehouse
from moovitamix_tests.commands.conftest import Command

READINGS = [
    Reading("quality", None, None, "cannot tell", "the day has 3 users to judge by"),
    Reading("genre_mix", 0.1234, Bound(0.03, 0.05, 0.1), "drifted"),
]


def keep(warehouse: Warehouse, day: date) -> None:
    with warehouse.connect() as connection:
        write_readings(connection, day, READINGS, Against(pull="p"))


def test_the_newest_readings_are_told_with_their_thresholds_in_one_order(
    command: Command, warehouse: Warehouse
) -> None:
    keep(warehouse, date(2026, 11, 20))
    keep(warehouse, date(2026, 11, 22))
    told = command("drift").output
    assert told.startswith("2026-11-22, without a champion")
    assert told.index("genre_mix") < told.index("quality")
    for said in (
        "0.1234",
        "0.0300",
        "0.0500",
        "0.1000",
        "drifted",
        "Cannot tell quality: the day has 3 users",
    ):
        assert said in told


def test_programs_get_json(command: Command, warehouse: Warehouse) -> None:
    keep(warehouse, date(2026, 11, 20))
    told = json.loads(command("drift", "--date", "2026-11-20", "--json").output)
    assert (told["day"], told["verdict"], told["model_version"]) == ("2026-11-20", "drifted", None)
    assert told["readings"][0]["bound"] == {"usual": 0.03, "warning": 0.05, "alarm": 0.1}
    assert told["readings"][1]["value"] is None


def test_a_day_that_was_not_read_says_what_reads_it(command: Command, warehouse: Warehouse) -> None:
    keep(warehouse, date(2026, 11, 20))
    failed = command("drift", "--date", "2026-11-21").exception
    assert isinstance(failed, NothingToDo)
    assert "2026-11-21 has not been read for drift yet" in str(failed)
    assert "`observe_day`" in str(failed)
