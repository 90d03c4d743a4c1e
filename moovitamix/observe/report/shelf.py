"""Where reports are kept: in the lake, a page and its JSON for each day, replaced as a whole.

`reports/day=D/report.json` is written last: where it is, the page is too, of the same moment or of
a writing that was cut off and will be repeated. No file holds anything of a user, so that an
erasure need not look here.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import msgspec

from moovitamix.observe.report.model import SHAPE, Report

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore

FOLDER = "reports"
_DAY = "day="


def page_name(day: date) -> str:
    """The file of the page, in the lake."""
    return f"{FOLDER}/{_DAY}{day}/report.html"


def json_name(day: date) -> str:
    """The file of the JSON, in the lake."""
    return f"{FOLDER}/{_DAY}{day}/report.json"


def address(lake: LakeStore, name: str) -> str:
    """Where somebody finds a file: its path on this machine, or its URL."""
    return f"{lake.url.rstrip('/')}/{name}".removeprefix("file://")


def to_json(report: Report) -> bytes:
    """The JSON of a report, indented: people look into it too."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1)


def from_json(content: bytes) -> Report:
    """The report that a JSON holds.

    Raises:
        ValueError: When it is damaged, or of another shape.
    """
    try:
        shape = msgspec.json.decode(content, type=dict[str, object]).get("shape")
        if shape != SHAPE:
            raise ValueError(f"shape {shape}, where {SHAPE} is read. Write the report again.")
        return msgspec.json.decode(content, type=Report)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{error}. Write the report again.") from error


def put(lake: LakeStore, report: Report, page: str) -> None:
    """Keep a report, in the place of an earlier one of its day."""
    lake.write_bytes(page_name(report.day), page.encode())
    lake.write_bytes(json_name(report.day), to_json(report))


def get(lake: LakeStore, day: date) -> Report | None:
    """The report of a day; None where there is none, or none that can be read by this version."""
    try:
        return from_json(lake.read_bytes(json_name(day)))
    except (FileNotFoundError, ValueError):
        return None


def days(lake: LakeStore) -> list[date]:
    """The days that have a report, oldest first."""
    last = "/report.json"
    names = (name for name in lake.names(FOLDER) if name.endswith(last))
    return [
        date.fromisoformat(name.removeprefix(f"{FOLDER}/{_DAY}").removesuffix(last))
        for name in names
    ]


def neighbours(lake: LakeStore, day: date) -> tuple[Report | None, Report | None]:
    """The reports of the newest earlier and the next later day that have one."""
    kept = days(lake)
    before = max((one for one in kept if one < day), default=None)
    after = min((one for one in kept if one > day), default=None)
    return (
        get(lake, before) if before is not None else None,
        get(lake, after) if after is not None else None,
    )
