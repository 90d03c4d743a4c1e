"""Each check of the stage fails on the fault that it is there for, and no other check does."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest

import moovitamix.ingest.checks
from moovitamix.definitions import build_defs
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import newest_pull
from moovitamix.resources import Lake
from moovitamix_tests.ingest.pulling import pull_at
from moovitamix_tests.reference_source import Record, ReferenceSource

Check = tuple[str, str]
HELD: dict[str, Callable[[ReferenceSource], list[Record]]] = {
    "raw_tracks": lambda source: source.tracks,
    "raw_users": lambda source: source.users,
    "raw_listen_history": lambda source: source.listens,
}


def break_two_in_forty(records: list[Record]) -> None:
    for record in records[:2]:
        record["created_at"] = "yesterday"


def add_a_field(records: list[Record]) -> None:
    records[0]["popularity"] = 9


FAULTS: dict[Check, Callable[[list[Record]], None]] = {
    (asset, check): fault
    for asset in HELD
    for check, fault in {
        "records_keep_the_contract": break_two_in_forty,
        "fields_as_declared": add_a_field,
    }.items()
}


@pytest.fixture
def sound(source: ReferenceSource) -> ReferenceSource:
    """A source without the nulls that its listens have."""
    for listen in source.listens:
        listen["user_id"] = listen["user_id"] or 1
        listen["items"] = listen["items"] or [1]
    return source


def evaluate(lake: LakeStore) -> dict[Check, dg.AssetCheckEvaluation]:
    checks = moovitamix.ingest.checks.pull_checks
    definitions = dg.Definitions(
        asset_checks=[checks],
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.checks(checks))],
        resources={"lake": Lake(url=lake.url)},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("checks").execute_in_process(instance=instance)
        return {
            (found.asset_key.to_user_string(), found.check_name): found
            for found in result.get_asset_check_evaluations()
        }


def test_every_check_of_the_stage_has_its_fault_here() -> None:
    graph = build_defs().resolve_asset_graph()
    stage = {
        (key.asset_key.to_user_string(), key.name)
        for key in graph.asset_check_keys
        if graph.get(key.asset_key).group_name == "ingest"
    }
    assert set(FAULTS) == stage


def test_a_sound_pull_passes_every_check_and_so_does_an_empty_lake(
    sound: ReferenceSource, lake: LakeStore
) -> None:
    assert {check: found.passed for check, found in evaluate(lake).items()} == dict.fromkeys(
        FAULTS, True
    )
    pull_at(lake, sound)
    assert {check: found.passed for check, found in evaluate(lake).items()} == dict.fromkeys(
        FAULTS, True
    )


@pytest.mark.parametrize("check", FAULTS, ids=".".join)
def test_a_fault_fails_its_check_and_it_alone_and_only_warns(
    sound: ReferenceSource, lake: LakeStore, check: Check
) -> None:
    FAULTS[check](HELD[check[0]](sound))
    pull_at(lake, sound)
    found = evaluate(lake)
    assert [failed for failed in found if not found[failed].passed] == [check]
    assert found[check].severity == dg.AssetCheckSeverity.WARN


def test_fields_beyond_the_contract_are_told_by_name_and_count_and_never_by_value(
    sound: ReferenceSource, lake: LakeStore
) -> None:
    for user in sound.users[:3]:
        user["phone"] = "+49 30 901820"
    sound.users[3]["n" * 200] = None
    pull_at(lake, sound)
    newest = newest_pull(lake)
    assert newest is not None
    # The last page is read twice, which here is the only one; and records as often as received.
    expected = {"phone": 6, "n" * 60: 2}
    assert newest.counts["users"].unknown_fields == expected
    assert newest.counts["tracks"].unknown_fields == {}
    found = evaluate(lake)["raw_users", "fields_as_declared"]
    assert found.metadata["unknown_fields"].value == expected
    assert "901820" not in str(found)


def test_no_more_names_of_fields_are_kept_than_anybody_reads(
    sound: ReferenceSource, lake: LakeStore
) -> None:
    for number, track in enumerate(sound.tracks):
        track[f"field {number}"] = track["a field of all"] = number
    unknown = pull_at(lake, sound).counts["tracks"].unknown_fields
    assert len(unknown) == 20
