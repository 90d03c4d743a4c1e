"""`quarantine list` and `quarantine retry`, as one types them."""

from __future__ import annotations

from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix_tests.commands.conftest import Command
from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, at, empty, pull_at
from moovitamix_tests.reference_source import ReferenceSource
from moovitamix_tests.warehouse.loading import load


def test_the_list_shows_payloads_only_when_asked(
    command: Command, warehouse: Warehouse, lake: LakeStore, source: ReferenceSource
) -> None:
    assert "Nothing waits" in command("quarantine", "list").output
    empty(source)
    source.users = [a_user(1, at(5)), a_user(2, at(5), created_at="[bold]never")]
    source.tracks = [a_track(1, at(5))]
    source.listens = [a_listen(1, [1, 9], at(12))]
    pull_at(lake, source)
    load(warehouse, lake, *range(1, 21))

    shown = command("quarantine", "list")
    assert shown.exit_code == 0, shown.output
    assert "Unknown track" in shown.output
    assert "created_at" in shown.output
    assert "example.org" not in shown.output
    assert "never" not in shown.output
    assert "2026-11-20" in shown.output
    only = command("quarantine", "list", "--endpoint", "listens", "--limit", "0").output
    assert "Unknown track" in only
    assert "created_at" not in only
    assert "2026-11" not in only
    whole = "".join(
        command("quarantine", "list", "--payload", "--endpoint", "users").output.split()
    )
    assert "[bold]never" in whole


def test_a_retry_tells_what_was_resolved_and_what_still_waits(
    command: Command, warehouse: Warehouse, lake: LakeStore, source: ReferenceSource
) -> None:
    empty(source)
    source.users, source.tracks = [a_user(1, at(5))], [a_track(1, at(5)), a_track(2, at(6))]
    source.listens = [a_listen(1, [1, 2, 9], at(12))]
    pull_at(lake, source)
    load(warehouse, lake, *range(1, 21))
    with warehouse.connect() as connection:
        # As if the track had come after its listen.
        connection.execute("DELETE FROM listen_history WHERE track_id = 2")
        connection.execute(
            "UPDATE quarantine SET payload = convert_to(replace(convert_from(payload, 'UTF8'), "
            "'\"track_id\" : 9', '\"track_id\" : 2'), 'UTF8')"
        )
    told = command("quarantine", "retry")
    assert told.exit_code == 0, told.output
    assert "Resolved: 1 listens" in told.output
    assert "New rows: 1 listen_history" in told.output
    assert "Still waiting" not in told.output
    assert "Resolved: nothing" in command("quarantine", "retry").output
