"""`days blocked` and `days accept`, as one types them."""

from __future__ import annotations

import getpass
from pathlib import Path

from moovitamix.errors import NothingToDo
from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix_tests.commands.conftest import Command
from moovitamix_tests.ingest.pulling import a_user, at, empty, pull_at
from moovitamix_tests.main_job.command import a_home
from moovitamix_tests.main_job.stem import a_stem
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.warehouse.loading import load


def test_blocked_days_are_told_with_their_rule_accepted_by_name_and_then_published(
    command: Command, warehouse: Warehouse, lake: LakeStore, source: ReferenceSource
) -> None:
    assert "No day is blocked" in command("days", "blocked").output
    assert isinstance(command("days", "accept", "2026-11-06").exception, NothingToDo)
    empty(source)
    source.users = [a_user(1, at(6))]
    pull_at(lake, source)
    load(warehouse, lake, 6, 7, bad=[6])

    told = " ".join(command("days", "blocked").output.split())
    for said in ("2026-11-06", "staged_users", "email_like", "look like none", "days accept DAY"):
        assert said in told
    assert "2026-11-07" not in told

    accepted = command("days", "accept", "2026-11-06", "--by", "Zoë [team]")
    assert accepted.exit_code == 0, accepted.output
    assert "by Zoë [team]" in accepted.output
    assert "moovitamix run --date 2026-11-06" in accepted.output
    told = " ".join(command("days", "blocked").output.split())
    assert "Accepted by Zoë [team]" in told
    assert "days accept DAY" not in told
    load(warehouse, lake, 6, bad=[6])
    assert "No day is blocked" in command("days", "blocked").output


def test_without_a_name_the_systems_user_answers_for_it(
    command: Command, warehouse: Warehouse, lake: LakeStore, source: ReferenceSource
) -> None:
    pull_at(lake, empty(source))
    load(warehouse, lake, 6, bad=[6])
    assert f"by {getpass.getuser()}." in command("days", "accept", "2026-11-06").output


def test_a_run_takes_an_accepted_day_for_a_missing_one(
    warehouse: Warehouse, source: ReferenceSource, tmp_path: Path
) -> None:
    empty(source)
    source.users = [a_user(1, at(6), email="none"), a_user(2, at(7))]
    settings = {
        "source_url": source.url,
        "database_url": warehouse.address(),
        "namespace": warehouse.schema_name,
        # Three days: of many, the bad one would be looked for by halves.
        "first_day": "2026-11-05",
        "now": "2026-11-08T12:00",
    }
    with a_stem(settings["first_day"]) as stem, a_home(tmp_path / "home", stem, **settings) as home:
        refused = home.command("run", "--into-csv")
        assert refused.code == 1
        assert "moovitamix days blocked" in refused.said
        with warehouse.connect() as connection:
            # As if an earlier content of the day had been published, before this one was blocked.
            connection.execute("INSERT INTO published_days VALUES ('2026-11-06', 'p', 'earlier')")
        assert home.command("days", "accept", "2026-11-06", "--by", "Zoë").code == 0
        ran = home.command("run", "--into-csv")
        assert ran.code == 0, ran.output
        assert "2026-11-06" in ran.said
        assert len(home.pulls()) == 1
    users = (home.path.parent / "exports" / "users.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in users] == ["id", "1", "2"]
