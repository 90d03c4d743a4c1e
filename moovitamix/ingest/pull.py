"""A pull: the source read once, its new contents dealt to days and kept as one.

How the source is read is told by `fetch.py`, what of it is new by `bring.py`, the files by
`keep.py`. Who may pull at a time is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path

from moovitamix.errors import SourceStartedAnew
from moovitamix.ingest import pulls
from moovitamix.ingest.bring import bring
from moovitamix.ingest.client import SourceClient
from moovitamix.ingest.contract import TRACKS, USERS
from moovitamix.ingest.deal import PullTimes
from moovitamix.ingest.erased import NOBODY, Erased, leave_out
from moovitamix.ingest.fetch import Progress, Reading, read_source
from moovitamix.ingest.keep import keep, keep_days, keep_lists, refuse_unless_whole
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import EndpointCounts, Pull
from moovitamix.ingest.spool_folder import own_folder

# Below this share of the ids of the last pull, the source is another world.
_SAME_WORLD = 0.5


def last_day_over(moment: datetime) -> date:
    """The last day that is over at a moment, UTC."""
    return moment.date() - timedelta(days=1)


def covering_pull(lake: LakeStore, days: Sequence[date]) -> Pull | None:
    """The newest kept pull, if it began after all of these days were over."""
    newest = pulls.newest_pull(lake)
    return newest if newest is not None and newest.over >= max(days) else None


async def pull_source(
    lake: LakeStore,
    client: SourceClient,
    *,
    spool: Path,
    clock: Callable[[], datetime],
    first_day: date,
    erased: Erased = NOBODY,
    confirm: Callable[[], None] = lambda: None,
    on_progress: Progress = lambda *_: None,
    on_trouble: Callable[[str], None] = lambda _: None,
) -> Pull:
    """Read the source and keep what is new of it.

    Only one pull may be under way on a lake at a time.

    Args:
        lake: Where to.
        client: Of the source.
        spool: A folder on a local disk, for what is read until it is kept: some 300 bytes a
            record. What a killed pull has left there is removed, and all of this one at its end.
        clock: Tells the present, naive UTC.
        first_day: The first partition.
        erased: Whose records are left out, and not kept.
        confirm: Asked before the pull is kept; raises when somebody else may pull by now.
        on_progress: Told the endpoint, the pages read and the pages expected.
        on_trouble: Told, in a sentence, why a reading was thrown away.

    Raises:
        SourceUnavailable: When no whole reading was to be had.
        SourceContractError: When the source does not speak its contract.
        SourceStartedAnew: When it is another world than the one in the lake.
        StoreUnavailable: When files that it has written are gone.
    """
    earlier = pulls.kept_pulls(lake)
    pulls.sweep(lake, earlier)
    began = clock()
    # A clock that was set back must not make this pull older than the last.
    if earlier:
        began = max(began, earlier[-1].began + timedelta(microseconds=1))
    over = last_day_over(began)
    over_before = earlier[-1].over if earlier else None
    times = PullTimes(began, over, over_before, first_day)
    with own_folder(spool) as folder:
        readings = await read_source(client, folder, on_progress=on_progress, on_trouble=on_trouble)
        left_out = leave_out(readings, erased)
        if earlier:
            _refuse_another_world(lake, earlier[-1], readings, folder)
        name = pulls.pull_name(began)
        counts = _keep_new(lake, name, readings, earlier, times, folder, left_out)
        pull = Pull(name, began, max(began, clock()), over, counts)
        refuse_unless_whole(lake, pull)
        confirm()
        keep(lake, pull)
    return pull


def _keep_new(
    lake: LakeStore,
    name: str,
    readings: Mapping[str, Reading],
    earlier: Sequence[Pull],
    times: PullTimes,
    folder: Path,
    left_out: Mapping[str, int],
) -> dict[str, EndpointCounts]:
    """Write all files of a pull but its manifest; what it brought, by endpoint."""
    counts: dict[str, EndpointCounts] = {}
    # The files of one endpoint are written while the next one's records are dealt.
    with ThreadPoolExecutor() as writers:
        written: list[Future[None]] = []
        for reading in readings.values():
            endpoint = reading.endpoint
            place, left = folder / endpoint.name, left_out[endpoint.name]
            brought = bring(lake, reading, earlier, times, place, erased=left)
            counts[endpoint.name] = brought.counts
            written += [
                writers.submit(write, lake, name, endpoint, brought, folder)
                for write in (keep_days, keep_lists)
            ]
        for one in written:
            one.result()
    return counts


def same_world(before: int, left: int) -> bool:
    """Whether enough of an endpoint's records of the last pull are left, under the same ids."""
    return left >= _SAME_WORLD * before


def _refuse_another_world(
    lake: LakeStore, last: Pull, readings: Mapping[str, Reading], folder: Path
) -> None:
    """Raise when most ids of the last pull are gone, or stand for somebody else."""
    left: dict[str, tuple[int, int]] = {}
    for endpoint in (TRACKS, USERS):
        records = readings[endpoint.name].records
        before = pulls.seen_on_disk(lake, endpoint, last, folder, records.parts)
        # An id that stands for somebody else was created at another moment.
        staying = sum(
            before.part(part).join(records.part(part), on=["id", "created_at"], how="semi").height
            for part in range(records.parts)
        )
        left[endpoint.name] = (before.rows, staying)
    lost = [
        f"of the {rows} {name} of the last pull only {staying} are left"
        for name, (rows, staying) in left.items()
        if not same_world(rows, staying)
    ]
    if lost:
        raise SourceStartedAnew(
            f"The source has started anew: {', '.join(lost)}. Nothing was changed. If this is "
            "meant, set the old data aside and start empty: `moovitamix source accept-reset`. If "
            "not, have the source restored, and run again.",
            left,
        )
