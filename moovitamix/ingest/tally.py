"""Whether the lake holds what its pulls say they stored: rows counted, without reading them.

What is missing in a file is missing in the tables, and nobody else would notice: a slice is what
the files hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import polars as pl

from moovitamix.ingest.contract import Endpoint
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import Pull, pull_file, raw_file

# Footers are read at once, for on an object store each is a request.
_READERS = 8


@dataclass(frozen=True)
class Tally:
    """The counts of an endpoint: what the manifests say, and what there is.

    Args:
        distinct: Different records that the newest pull read.
        accounted: Those of them of which it is known what became.
        stored: Contents that the newest pull says it stored.
        indexed: Rows of its index.
        rejected: Records that the newest pull says broke the contract.
        set_aside: Rows of its list of them.
        dealt: Contents that all pulls say they dealt to the days looked at.
        held: Rows of the files of these days.
        short: Files whose rows are not those of the manifest.
    """

    distinct: int
    accounted: int
    stored: int
    indexed: int
    rejected: int
    set_aside: int
    dealt: int
    held: int
    short: int

    @property
    def adds_up(self) -> bool:
        """Whether nothing is missing, and nothing there that nobody knows of."""
        return (
            self.distinct == self.accounted
            and self.stored == self.indexed
            and self.rejected == self.set_aside
            and self.short == 0
        )


def tally(
    lake: LakeStore, endpoint: Endpoint, kept: Sequence[Pull], days: Sequence[date] | None
) -> Tally:
    """Count what an endpoint's files hold, by their footers.

    Args:
        lake: Where they are.
        endpoint: Whose.
        kept: The kept pulls, oldest first, at least one.
        days: Whose files are looked at; None: those that the newest pull dealt something to.
    """
    name, newest = endpoint.name, kept[-1]
    counts = newest.counts[name]
    wanted = set(counts.dealt if days is None else days)
    said = {
        raw_file(name, day, pull.name): rows
        for pull in kept
        for day, rows in pull.counts[name].dealt.items()
        if day in wanted
    }

    def rows_of(file: str) -> int:
        try:
            return lake.count_rows(file)
        except (FileNotFoundError, pl.exceptions.ComputeError):
            return 0

    with ThreadPoolExecutor(_READERS) as readers:
        found = dict(zip(said, readers.map(rows_of, said), strict=True))
    return Tally(
        distinct=counts.distinct,
        accounted=counts.accounted,
        stored=counts.stored,
        indexed=rows_of(pull_file(newest.name, name, "index")),
        rejected=counts.rejected,
        set_aside=rows_of(pull_file(newest.name, name, "rejected")),
        dealt=sum(said.values()),
        held=sum(found.values()),
        short=sum(found[file] != rows for file, rows in said.items()),
    )
