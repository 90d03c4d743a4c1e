"""Where users are named, in all tables and files; and whether anybody is named who was erased.

What each stage writes of users is told in its `people.py`; a new place is added there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from moovitamix.ingest import people as in_files
from moovitamix.ingest.erased import Erased, of_erased
from moovitamix.ingest.named import Named
from moovitamix.recommend import people as in_artifacts
from moovitamix.warehouse import exports
from moovitamix.warehouse import people as in_tables
from moovitamix.warehouse.erasures import those_erased

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Warehouse


def traces_of_erased(warehouse: Warehouse, lake: LakeStore) -> dict[str, int]:
    """How many users each place still names who were erased; empty as it should be.

    An id is no trace where it is another account's by now: one with a record of its own, created
    at another moment. A listen recorded before that account was created is a trace again.

    Raises:
        StoreUnavailable: When the key of the hashes is gone.
    """
    they = those_erased(warehouse, lake)
    if not they:
        return {}
    ids = pl.Series(dtype=pl.Int64)
    for named in everywhere(warehouse, lake):
        ids = pl.concat([ids, named.rows["id"]]).unique()
    suspects = pl.DataFrame({"id": they.suspects(ids)}, schema={"id": pl.Int64})
    if suspects.is_empty():
        return {}
    places = [
        Named(named.place, named.kind, rows)
        for named in everywhere(warehouse, lake)
        if (rows := named.rows.join(suspects, on="id", how="semi")).height
    ]
    successors = _successors(places, they)
    found: dict[str, set[int]] = {}
    for named in places:
        found.setdefault(named.place, set()).update(_traces(named, they, successors))
    return {place: len(theirs) for place, theirs in found.items() if theirs}


def _successors(places: Sequence[Named], they: Erased) -> dict[int, datetime]:
    """Accounts that have the id of somebody erased now, and when they were created."""
    accounts = [
        (one, at)
        for named in places
        if named.kind == "account"
        for one, at in named.rows.drop_nulls().rows()
        if not they.is_person(one, at)
    ]
    return dict(sorted(accounts, reverse=True))  # of several the first that was created


def _traces(named: Named, they: Erased, successors: dict[int, datetime]) -> set[int]:
    """Those whom a place names, of ids that somebody erased had, who were erased."""
    if named.kind == "id":
        return set(named.rows["id"].to_list()) - successors.keys()
    unclear = named.rows.filter(pl.col("at").is_null())["id"].to_list()
    clear = named.rows.drop_nulls()
    if named.kind == "account":
        theirs = [one for one, at in clear.rows() if they.is_person(one, at)]
    else:
        listens = clear.rename({"id": "user_id", "at": "created_at"})
        theirs = clear.filter(of_erased(listens, they, successors))["id"].to_list()
    return {*theirs, *unclear}


def everywhere(warehouse: Warehouse, lake: LakeStore) -> Iterator[Named]:
    """Everybody whom a table, an export or a file of the lake names, place by place."""
    with warehouse.connect() as connection:
        yield from in_tables.named_in_tables(connection)
        yield from exports.named_in_exports(connection)
    yield from in_lake(lake)


def in_lake(lake: LakeStore) -> Iterator[Named]:
    """The same of the lake alone."""
    yield from in_files.named_in_files(lake)
    yield from in_artifacts.named_in_artifacts(lake)
