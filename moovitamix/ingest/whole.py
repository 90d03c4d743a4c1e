"""Whether a reading of the source is the whole of one world: if not, it is done again.

How it is read is told by `fetch.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from moovitamix.errors import SourceContractError
from moovitamix.ingest.contract import ENDPOINTS, LISTENS, PAGE_SIZE, Endpoint

if TYPE_CHECKING:
    from moovitamix.ingest.client import SourceClient
    from moovitamix.ingest.decode import Page
    from moovitamix.ingest.fetch import Reading

# The share of the first page's records that must still be there, unchanged, at the end.
_SAME_WORLD = 0.5

# Of an endpoint. No music app has more, and each 65,536 of them are a part of the spool.
MOST_RECORDS = 1_000_000_000


def pages_expected(endpoint: Endpoint, first: Page) -> int:
    """How many pages hold the records that the first one states; one at least.

    Raises:
        SourceContractError: When it states more than `MOST_RECORDS`.
    """
    total = first.total or 0
    if total > MOST_RECORDS:
        raise SourceContractError(
            f"{endpoint.name} states a total of more than {MOST_RECORDS:,} records, which no pull "
            "takes. Nothing was stored; tell the source's owner."
        )
    return max(1, -(-total // PAGE_SIZE))


class Before(NamedTuple):
    """What is known of the reading before this one, of an endpoint.

    Args:
        digest: `Reading.digest`.
        repeated: `Reading.repeated`.
    """

    digest: tuple[int, int]
    repeated: int


def shortfall(readings: Mapping[str, Reading], before: Mapping[str, Before]) -> str | None:
    """Why some records may be missing, in words, or None when the readings cover their totals.

    A record that is deleted moves all behind it forward, so that one of them slips to a page that
    was read before. The distinct records cover the lower total all the same; but a page that was
    asked for later states less than one before.

    Args:
        readings: By endpoint.
        before: Of the reading before this one, by endpoint; empty when this is the first.
    """
    for name, reading in readings.items():
        if reading.shrank_from is not None:
            return (
                f"{name} stated {reading.shrank_from} records and fewer later on: what stood "
                "behind one that was deleted may have slipped to a page that was read before"
            )
        # Several listen records may be one by their key, and are united.
        told = reading.superseded if reading.endpoint is LISTENS else 0
        if reading.distinct + told >= reading.total:
            continue
        last = before.get(name)
        # Two broken records may be the same to the byte, be it for having no id. One that has
        # slipped to another page looks just so: what the reading before has found too, counts.
        twice = min(reading.repeated, last.repeated) if last else 0
        if reading.distinct + told + twice >= reading.total:
            continue
        # Listens have no id: a source that really holds the same record twice says so by
        # giving the very same contents again.
        repeated = reading.endpoint is LISTENS and reading.received >= reading.total
        if repeated and last and last.digest == reading.digest():
            continue
        return f"{name} states {reading.total} records and gave {reading.distinct} different ones"
    return None


async def world_change(client: SourceClient, firsts: Mapping[str, Page]) -> str | None:
    """How the first pages have become somebody else's since they were read, or None."""
    now = await asyncio.gather(*(client.page(endpoint, 1) for endpoint in ENDPOINTS))
    for endpoint, page in zip(ENDPOINTS, now, strict=True):
        before = endpoint.frame(firsts[endpoint.name].records)
        if before.is_empty():
            continue
        staying = before.join(endpoint.frame(page.records), on="sha256", how="semi").height
        if staying < _SAME_WORLD * before.height:
            return (
                f"the first page of {endpoint.name} held {before.height} records, of which only "
                f"{staying} were still there at the end"
            )
    return None
