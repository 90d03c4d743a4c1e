"""Whoever works in a spool is alone in a folder; what is left by the dead goes, nothing else."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moovitamix.ingest import slices
from moovitamix.ingest.client import SourceClient
from moovitamix.ingest.contract import ENDPOINTS
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pull import pull_source
from moovitamix.ingest.spool_folder import own_folder, remove_left
from moovitamix_tests.ingest.pulling import FIRST_DAY, NOON, ONE_DAY
from moovitamix_tests.reference_source import ReferenceSource

HOLD = """
import sys, time
from pathlib import Path
from moovitamix.ingest.spool_folder import own_folder
with own_folder(Path(sys.argv[1])) as folder:
    (folder / "records").write_text("somebody's")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "name"


def test_a_folder_is_there_while_it_is_used_and_nothing_after(spool: Path) -> None:
    with own_folder(spool) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "records").write_text("somebody's")
    assert not spool.exists()
    with pytest.raises(ZeroDivisionError), own_folder(spool) as folder:
        (folder / "records").write_text(str(1 // 0))
    assert not spool.exists()


def test_two_have_a_folder_each_and_neither_loses_theirs(spool: Path) -> None:
    with own_folder(spool) as first:
        (first / "records").write_text("first")
        with own_folder(spool) as second:
            assert second != first
            remove_left(spool)
        assert (first / "records").read_text() == "first"
        assert not second.exists()
    assert not spool.exists()


def test_what_another_process_uses_stays_until_it_is_killed(spool: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(spool)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holding:
        assert holding.stdout is not None
        theirs = Path(holding.stdout.readline().strip())
        remove_left(spool)
        assert (theirs / "records").exists()
        holding.send_signal(signal.SIGKILL)
        holding.wait()
    with own_folder(spool) as folder:
        assert [*spool.iterdir()] == [folder]


def test_files_of_versions_that_had_no_folders_go(spool: Path) -> None:
    (spool / "tracks").mkdir(parents=True)
    (spool / "tracks" / "0.arrow").write_text("")
    (spool / "0.arrow").write_text("")
    remove_left(spool)
    assert not spool.exists()
    remove_left(spool)  # where there is nothing


def test_whoever_comes_and_goes_at_once_finds_what_they_wrote(spool: Path) -> None:
    def work(number: int) -> bool:
        with own_folder(spool) as folder:
            (folder / "records").write_text(str(number))
            return (folder / "records").read_text() == str(number)

    with ThreadPoolExecutor(8) as workers:
        assert all(workers.map(work, range(400)))
    assert not spool.exists()


def test_a_pull_that_has_lost_its_lock_does_not_get_into_the_next_one(
    tmp_path: Path, spool: Path, source: ReferenceSource
) -> None:
    alone, late, next_one = (
        LakeStore((tmp_path / name).as_uri()) for name in ("alone", "late", "next")
    )

    async def pull(*lakes: LakeStore) -> None:
        async with SourceClient(source.url) as client:
            pulls = (
                pull_source(lake, client, spool=spool, clock=lambda: NOON, first_day=FIRST_DAY)
                for lake in lakes
            )
            await asyncio.gather(*pulls)

    asyncio.run(pull(alone))
    asyncio.run(pull(late, next_one))
    days = [FIRST_DAY + number * ONE_DAY for number in range(30)]
    for endpoint in ENDPOINTS:
        wanted = slices.read_days(alone, endpoint, days).sort("sha256")
        assert not wanted.is_empty()
        for lake in (late, next_one):
            assert slices.read_days(lake, endpoint, days).sort("sha256").equals(wanted)
