"""A pull: the source read once, its new contents dealt to days and kept as one.

How the source is read is told by `fetch.py`, the dealing rule by `deal.py`, the files by
`pulls.py`. Who may pull at a time is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta

import polars as pl

from moovitamix.errors import SourceContractError
from moovitamix.ingest import pulls
from moovitamix.ingest.client import SourceClient
from moovitamix.ingest.contract import ENDPOINTS, LISTENS, TRACKS, USERS, Endpoint, Rejected
from moovitamix.ingest.deal import PullTimes, deal
from moovitamix.ingest.fetch import Progress, Reading, read_source, rejected_frame
from moovitamix.ingest.gone import still_gone
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import EndpointCounts, Pull

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
    clock: Callable[[], datetime],
    first_day: date,
    on_progress: Progress = lambda *_: None,
    on_trouble: Callable[[str], None] = lambda _: None,
) -> Pull:
    """Read the source and keep what is new of it.

    Only one pull may be under way on a lake at a time.

    Args:
        lake: Where to.
        client: Of the source.
        clock: Tells the present, naive UTC.
        first_day: The first partition.
        on_progress: Told the endpoint, the pages read and the pages expected.
        on_trouble: Told, in a sentence, why a reading was thrown away.

    Raises:
        SourceUnavailable: When no whole reading was to be had.
        SourceContractError: When the source does not speak its contract, or is another world
            than the one in the lake.
    """
    earlier = pulls.kept_pulls(lake)
    pulls.sweep(lake, earlier)
    began = clock()
    # A clock that was set back must not make this pull older than the last.
    if earlier:
        began = max(began, earlier[-1].began + timedelta(microseconds=1))
    readings = await read_source(client, on_progress=on_progress, on_trouble=on_trouble)
    if earlier:
        _refuse_another_world(lake, earlier[-1], readings)
    over = last_day_over(began)
    over_before = earlier[-1].over if earlier else None
    times = PullTimes(began, over, over_before, first_day)
    stored: dict[str, pl.DataFrame] = {}
    seen: dict[str, pl.DataFrame] = {}
    rejected: dict[str, pl.DataFrame] = {}
    gone: dict[str, pl.DataFrame] = {}
    counts: dict[str, EndpointCounts] = {}
    for endpoint in ENDPOINTS:
        name, reading = endpoint.name, readings[endpoint.name]
        known = pulls.latest_contents(lake, endpoint, earlier)
        unknown = reading.records.join(known, on="sha256", how="anti", maintain_order="left")
        dealt = deal(unknown, times)
        new = dealt.filter(pl.col("day").is_not_null()).drop("ahead")
        ahead = dealt.filter("ahead")
        if endpoint is LISTENS:
            new = _settle(lake, new, known)
        stored[name] = new
        seen[name] = reading.records.select(list(dict.fromkeys([*endpoint.key, "created_at"])))
        rejected[name] = pl.concat([reading.rejected, _reject_ahead(endpoint, ahead)])
        if endpoint is not LISTENS:
            before = pulls.gone_keys(lake, endpoint, earlier[-1] if earlier else None)
            gone[name] = still_gone(known, seen[name], rejected[name], before, began)
        counts[name] = EndpointCounts(
            pages=reading.pages,
            total=reading.total,
            received=reading.received,
            distinct=reading.distinct,
            superseded=reading.superseded,
            stored=new.height,
            known=reading.records.height - unknown.height,
            waiting=dealt.height - new.height - ahead.height,
            rejected=rejected[name].height,
        )
    pull = Pull(pulls.pull_name(began), began, max(began, clock()), over, counts)
    pulls.keep(lake, pull, stored, seen, rejected, gone)
    return pull


def _reject_ahead(endpoint: Endpoint, ahead: pl.DataFrame) -> pl.DataFrame:
    """Records dated further ahead than clocks err, as rejected ones."""
    payloads = ahead.select(pl.struct(list(endpoint.schema)).struct.json_encode()).to_series()
    later = ahead["updated_at"] > ahead["created_at"]
    return rejected_frame(
        [
            Rejected(
                payload.encode(),
                "updated_at" if edited else "created_at",
                "Dated further ahead than clocks err",
            )
            for payload, edited in zip(payloads, later, strict=True)
        ]
    )


def _settle(lake: LakeStore, new: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Give each track of each new listen content the moment it was heard.

    That is the record's `created_at`; but for what a later content of the same record has
    added, it is that content's `updated_at`. A play is matched to the earlier content's by
    track and by being the same of several plays of it. What was heard stays heard: plays that
    a later content no longer names are kept, so that it does not matter which contents were
    loaded on the way.

    Args:
        lake: Holds the earlier contents.
        new: New contents with their `day`.
        known: What `pulls.latest_contents` gives for listens.

    Returns:
        The same rows, with `items` completed and `listened_at`, a list of the same length.
    """
    key = list(LISTENS.key)
    play = [*key, "track_id", "nth"]
    grown = known.join(new, on=key, how="semi")
    before = explode(pulls.read_contents(lake, LISTENS, grown)).select(*play, "listened_at")
    now = explode(new.with_columns(listened_at=pl.col("items").list.eval(pl.lit(None))))
    added = (
        pl.when(pl.struct(key).is_in(grown.select(pl.struct(key)).to_series().implode()))
        .then(pl.max_horizontal("created_at", "updated_at"))
        .otherwise("created_at")
    )
    heard = (
        now.with_columns(added=added)
        .drop("listened_at")
        .join(before, on=play, how="left", maintain_order="left")
        .select(*play, pl.coalesce("listened_at", "added").alias("listened_at"))
    )
    no_longer_named = before.join(now, on=play, how="anti", maintain_order="left")
    settled = (
        pl.concat([heard, no_longer_named])
        .group_by(key, maintain_order=True)
        .agg(pl.col("track_id").alias("items"), "listened_at")
    )
    return (
        new.drop("items")
        .join(settled, on=key, how="left", maintain_order="left")
        .with_columns(pl.col("items", "listened_at").fill_null([]))
        .select(*new.columns, "listened_at")
    )


def explode(records: pl.DataFrame) -> pl.DataFrame:
    """One row for each track heard, in the order heard.

    Args:
        records: Listen contents with `items` and `listened_at`, lists of one length a row.

    Returns:
        The other columns with `track_id` (Int64), `listened_at` and `nth` (Int16): which of
        several plays of the track in its record, from 1.
    """
    return (
        records.filter(pl.col("items").list.len() > 0)
        .explode("items", "listened_at")
        .rename({"items": "track_id"})
        .with_columns(
            nth=pl.int_range(1, pl.len() + 1, dtype=pl.Int16).over(*LISTENS.key, "track_id")
        )
    )


def _refuse_another_world(lake: LakeStore, last: Pull, readings: dict[str, Reading]) -> None:
    """Raise when most ids of the last pull are gone, or stand for somebody else."""
    for endpoint in (TRACKS, USERS):
        before = pulls.seen_keys(lake, endpoint, last)
        # An id that stands for somebody else was created at another moment.
        now = readings[endpoint.name].records
        staying = before.join(now, on=["id", "created_at"], how="semi").height
        if staying < _SAME_WORLD * before.height:
            raise SourceContractError(
                f"The source has started anew: of the {before.height} {endpoint.name} of the last "
                f"pull only {staying} are left. Nothing was changed. If this is meant, set the old "
                "data aside and start empty: `moovitamix source accept-reset`. If not, have the "
                "source restored, and run again."
            )
