"""Each check of the stage fails on the fault that it is there for, and no other check does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg
import msgspec
import pytest

import moovitamix.ingest.assets
import moovitamix.ingest.checks
from moovitamix.ingest.contract import TRACKS
from moovitamix.ingest.judgements import is_fresh
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import EndpointCounts, kept_pulls, newest_pull, raw_file
from moovitamix.ingest.tally import tally
from moovitamix.resources import Lake, Source, Warehouse
from moovitamix.settings import get_settings
from moovitamix_tests.conftest import FIRST_DAY
from moovitamix_tests.ingest.pulling import NOON, ONE_DAY, pull_at
from moovitamix_tests.reference_source import Record, ReferenceSource
from moovitamix_tests.warehouse.loading import load

Check = tuple[str, str]
HELD: dict[str, Callable[[ReferenceSource], list[Record]]] = {
    "raw_tracks": lambda source: source.tracks,
    "raw_users": lambda source: source.users,
    "raw_listen_history": lambda source: source.listens,
}


@dataclass
class Stage:
    """The stage on a source of sixty tracks and users, and a pull made the day before."""

    source: ReferenceSource
    lake: LakeStore
    warehouse: Warehouse

    def held(self, asset: str) -> list[Record]:
        return HELD[asset](self.source)

    def pull(self) -> None:
        pull_at(self.lake, self.source, LATER)

    def load(self) -> None:
        load(self.warehouse, self.lake, *range(1, 21))

    def evaluate(self, *, pull: bool = False) -> dict[Check, dg.AssetCheckEvaluation]:
        """The checks on the newest pull, or those of the asset as it pulls itself."""
        checks = moovitamix.ingest.checks.pull_checks
        pulling, judging = dg.AssetSelection.groups("ingest"), dg.AssetSelection.checks(checks)
        definitions = dg.Definitions(
            assets=dg.load_assets_from_modules([moovitamix.ingest.assets]),
            asset_checks=[checks],
            jobs=[dg.define_asset_job("checks", selection=pulling if pull else judging)],
            resources={
                "source": Source(url=self.source.url),
                "lake": Lake(url=self.lake.url),
                "warehouse": self.warehouse,
            },
        )
        with dg.DagsterInstance.ephemeral() as instance:
            result = definitions.resolve_job_def("checks").execute_in_process(
                instance=instance,
                raise_on_error=False,
                partition_key=str(FIRST_DAY) if pull else None,
                run_config={"ops": {"pull": {"config": {"refresh": True}}}} if pull else None,
            )
            return {
                (found.asset_key.to_user_string(), found.check_name): found
                for found in result.get_asset_check_evaluations()
            }


def break_two_in_forty(stage: Stage, asset: str) -> None:
    for record in stage.held(asset)[:2]:
        record["created_at"] = "yesterday"
    stage.pull()


def add_a_field(stage: Stage, asset: str) -> None:
    stage.held(asset)[0]["popularity"] = 9
    stage.pull()


def lose_a_file(stage: Stage, asset: str) -> None:
    add_records(stage, asset)
    stage.pull()
    endpoint = asset.removeprefix("raw_")
    newest = kept_pulls(stage.lake)[-1]
    stage.lake.remove(raw_file(endpoint, newest.over, newest.name))


def stop_listening(stage: Stage, asset: str) -> None:
    for record in stage.held(asset):
        created = datetime.fromisoformat(record["created_at"])
        record["created_at"] = (created - timedelta(days=4)).isoformat()
    stage.pull()


def lose_many(stage: Stage, asset: str) -> None:
    stage.load()
    del stage.held(asset)[35:]
    stage.pull()


def start_anew(stage: Stage, asset: str) -> None:
    for record in stage.held(asset):
        record["id"] += 1_000_000


def add_records(stage: Stage, asset: str) -> None:
    new = {**stage.held(asset)[0], "created_at": "2026-11-21T18:00:00.000000"}
    stage.held(asset).append(new | ({"id": 500_000} if "id" in new else {}))


OF_EACH: dict[str, Callable[[Stage, str], None]] = {
    "records_keep_the_contract": break_two_in_forty,
    "fields_as_declared": add_a_field,
    "counts_add_up": lose_a_file,
}
FAULTS: dict[Check, Callable[[Stage, str], None]] = {
    **{(asset, check): fault for asset in HELD for check, fault in OF_EACH.items()},
    ("raw_listen_history", "fresh"): stop_listening,
    ("raw_tracks", "catalogue_whole"): lose_many,
    ("raw_users", "accounts_whole"): lose_many,
    ("raw_tracks", "same_world"): start_anew,
    ("raw_users", "same_world"): start_anew,
}
ERRORS = ("counts_add_up", "same_world", "catalogue_whole", "accounts_whole")
LATER = NOON + ONE_DAY


@pytest.fixture
def stage(
    source: ReferenceSource,
    lake: LakeStore,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
) -> Stage:
    monkeypatch.setenv("MOOVITAMIX_NOW", LATER.isoformat())
    get_settings.cache_clear()
    for records in (source.tracks, source.users):
        records += [record | {"id": record["id"] + 200_000} for record in records[:20]]
    for listen in source.listens:  # without the nulls that break the contract
        listen["user_id"] = listen["user_id"] or 1
        listen["items"] = listen["items"] or [1]
    newest = max(source.listens, key=lambda listen: str(listen["created_at"]))
    newest["created_at"] = "2026-11-20T08:00:00.000000"
    pull_at(lake, source)
    return Stage(source, lake, warehouse)


def test_a_sound_pull_passes_every_check_and_so_does_an_empty_lake(
    stage: Stage, warehouse: Warehouse, lake: LakeStore
) -> None:
    stage.load()
    add_records(stage, "raw_tracks")
    del stage.source.users[-20:]  # so few may go whatever their share
    assert {check: found.passed for check, found in stage.evaluate(pull=True).items()} == (
        dict.fromkeys(FAULTS, True)
    )
    nowhere = Stage(stage.source, LakeStore(f"{lake.url}-of-nobody"), warehouse)
    assert {check: found.passed for check, found in nowhere.evaluate().items()} == {
        check: True for check in FAULTS if check[1] != "same_world"
    }


@pytest.mark.parametrize("check", FAULTS, ids=".".join)
def test_a_fault_fails_its_check_and_it_alone(stage: Stage, check: Check) -> None:
    FAULTS[check](stage, check[0])
    found = stage.evaluate(pull=check[1] == "same_world")
    assert [failed for failed in found if not found[failed].passed] == [check]
    severe = dg.AssetCheckSeverity.ERROR if check[1] in ERRORS else dg.AssetCheckSeverity.WARN
    assert found[check].severity == severe


def test_only_what_must_not_go_on_is_held_back() -> None:
    blocking = {
        (spec.asset_key.to_user_string(), spec.name)
        for made in (moovitamix.ingest.assets.pull, moovitamix.ingest.checks.pull_checks)
        for spec in made.check_specs
        if spec.blocking
    }
    names = {"same_world", "catalogue_whole", "accounts_whole"}
    assert blocking == {check for check in FAULTS if check[1] in names}


def test_a_record_of_which_nobody_knows_what_became_is_missed(stage: Stage) -> None:
    kept = kept_pulls(stage.lake)
    counts = kept[-1].counts["tracks"]
    for lost in ("stored", "rejected"):
        wrong = msgspec.structs.replace(counts, **{lost: getattr(counts, lost) + 1})
        pull = msgspec.structs.replace(kept[-1], counts={"tracks": wrong})
        assert not tally(stage.lake, TRACKS, [pull], []).adds_up
    assert tally(stage.lake, TRACKS, kept, []).adds_up


def test_a_file_of_an_earlier_pull_is_missed_by_a_run_of_its_day_and_no_other(
    stage: Stage,
) -> None:
    day = date(2026, 11, 1)  # all that is older is dealt to it
    stage.lake.write_bytes(raw_file("tracks", day, kept_pulls(stage.lake)[0].name), b"half a file")
    stage.pull()
    kept = kept_pulls(stage.lake)
    assert tally(stage.lake, TRACKS, kept, None).adds_up
    assert tally(stage.lake, TRACKS, kept, [day + ONE_DAY]).adds_up
    found = tally(stage.lake, TRACKS, kept, [day])
    assert not found.adds_up
    assert (found.short, found.held) == (1, 0)
    assert found.dealt > 40


def test_the_newest_record_is_not_one_that_is_dated_ahead(stage: Stage) -> None:
    stage.source.listens[0]["created_at"] = "2027-11-21T08:00:00.000000"
    stage.pull()
    newest = kept_pulls(stage.lake)[-1].counts["listen_history"].newest
    assert newest == datetime(2026, 11, 20, 8)  # noqa: DTZ001 - the source's moments have no zone


def test_the_manifest_of_an_earlier_version_can_be_read_and_is_not_called_stale(
    stage: Stage,
) -> None:
    (pull,) = kept_pulls(stage.lake)
    earlier = msgspec.to_builtins(pull)
    for counts in earlier["counts"].values():
        del counts["newest"], counts["dealt"]
    stage.lake.write_bytes(f"pulls/{pull.name}/manifest.json", msgspec.json.encode(earlier))
    read = newest_pull(stage.lake)
    assert read is not None
    assert read.counts["tracks"] == msgspec.structs.replace(
        pull.counts["tracks"], newest=None, dealt={}
    )
    assert is_fresh(read, read.counts["listen_history"]).passed
    assert isinstance(read.counts["users"], EndpointCounts)


def test_fields_beyond_the_contract_are_told_by_name_and_count_and_never_by_value(
    stage: Stage,
) -> None:
    for user in stage.source.users[:3]:
        user["phone"] = "+49 30 901820"
    stage.source.users[3]["n" * 200] = None
    stage.pull()
    newest = newest_pull(stage.lake)
    assert newest is not None
    # The last page is read twice, which here is the only one; and records as often as received.
    expected = {"phone": 6, "n" * 60: 2}
    assert newest.counts["users"].unknown_fields == expected
    assert newest.counts["tracks"].unknown_fields == {}
    found = stage.evaluate()["raw_users", "fields_as_declared"]
    assert found.metadata["unknown_fields"].value == expected
    assert "901820" not in str(found)


def test_no_more_names_of_fields_are_kept_than_anybody_reads(stage: Stage) -> None:
    for number, track in enumerate(stage.source.tracks):
        track[f"field {number}"] = track["a field of all"] = number
    stage.pull()
    unknown = kept_pulls(stage.lake)[-1].counts["tracks"].unknown_fields
    assert len(unknown) == 20
