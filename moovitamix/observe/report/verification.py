"""Whether a report that was kept is whole, and says what the tables say."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from moovitamix.observe.report import read_data, shelf

if TYPE_CHECKING:
    import psycopg

    from moovitamix.ingest.lake import LakeStore

_END = "</html>"
_AGAIN = "Write it again with `moovitamix report --again`."


def faults(connection: psycopg.Connection, lake: LakeStore, day: date | None) -> list[str]:
    """What is wrong with a report, in sentences; none where it is as it should be.

    Args:
        connection: A transaction of the warehouse.
        lake: Where it is kept.
        day: Whose report; None: the newest.
    """
    day = day or max(shelf.days(lake), default=None)
    if day is None:
        return [f"No report was written yet. {_AGAIN}"]
    kept = shelf.get(lake, day)
    if kept is None or kept.day != day:
        return [f"The JSON of {day} is missing, damaged or of another version. {_AGAIN}"]
    found = []
    name = shelf.page_name(day)
    page = lake.read_bytes(name).decode() if lake.exists(name) else ""
    if not page.rstrip().endswith(_END):
        found.append(f"The page of {day} is missing or cut off. {_AGAIN}")
    elif f'"{kept.written_at.isoformat()}"' not in page:
        found.append(f"The page and the JSON of {day} are of two writings. {_AGAIN}")
    now = {one.name: one.count for one in read_data.read_volumes(connection, day)}
    told = {one.name: one.count for one in kept.volumes}
    others = sorted(name for name in now if told.get(name) != now[name])
    if others:
        found.append(f"The tables of {day} have changed since: {', '.join(others)}. {_AGAIN}")
    return found
