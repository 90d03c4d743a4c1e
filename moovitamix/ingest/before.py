"""Worlds of the past in the lake: what belonged to a source that has started anew since.

    before/{name}/…      raw/, pulls/, recommend/ and erasure/ as they were
    before/unfinished    the name of the one being set aside; while it is there, nobody pulls

How the whole platform is reset is told in `reset.py`.
"""

from __future__ import annotations

from moovitamix.errors import NothingToDo
from moovitamix.ingest.lake import LakeStore

_UNFINISHED = "before/unfinished"
_FOLDERS = ("raw", "recommend", "erasure", "pulls")


def unfinished(lake: LakeStore) -> str | None:
    """The name of the world that is being set aside, if one is."""
    return lake.read_bytes(_UNFINISHED).decode() if lake.exists(_UNFINISHED) else None


def begin(lake: LakeStore, name: str) -> None:
    """Note that this world is being set aside."""
    lake.write_bytes(_UNFINISHED, name.encode())


def move(lake: LakeStore, name: str) -> None:
    """Move what is left of the world's files; may be repeated until nothing is."""
    for folder in _FOLDERS:
        lake.move(folder, f"before/{name}/{folder}")


def finish(lake: LakeStore) -> None:
    """Note that all of it is done: the lake is that of a new world."""
    lake.remove(_UNFINISHED)


def refuse_while_unfinished(lake: LakeStore) -> None:
    """Keep a pull from mixing two worlds.

    Raises:
        NothingToDo: When a reset was stopped half-way.
    """
    if unfinished(lake):
        raise NothingToDo(
            "A reset to a source that has started anew was stopped half-way. "
            "Complete it: `moovitamix source accept-reset`."
        )
