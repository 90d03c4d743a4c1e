"""Users are erased from every store, in steps of which each may be repeated.

How each store forgets somebody is told in the `people.py` of the stage that writes to it; that it
has is proved in `traces.py`.

1. The lake notes whose erasure has begun, until it is done, and keyed hashes of them go to
   `erasures`: from then on no pull brings them back.
2. The lake's raw files, 3. the tables, 4. matrices, models and features, 5. the cache,
   6. exports on this machine, after the tables that they are made from.

Whoever carries something of users from one store to another holds erasures off meanwhile
(`Warehouse.hold_erasures`), so that nothing read before an erasure is written after it. An
erasure that was killed anywhere is completed by the next, of whomever, and by `retention.py`. A
new place is added to the `people.py` of its stage, or as one more step here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from moovitamix.ingest import erased, pulls
from moovitamix.ingest import people as in_files
from moovitamix.ingest.before import refuse_while_unfinished
from moovitamix.ingest.erased import ensure_key, hash_account, hash_person
from moovitamix.ingest.spool_folder import own_folder
from moovitamix.recommend import people as in_artifacts
from moovitamix.serve import people as in_cache
from moovitamix.traces import everywhere, in_lake
from moovitamix.warehouse import exports
from moovitamix.warehouse import people as in_tables
from moovitamix.warehouse.erasures import remember, those_erased

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Cache, Warehouse

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Erasure:
    """What an erasure removed; all zero when there was nothing of these users.

    Attributes:
        rows: Deleted rows by table.
        files: Raw files that were written again.
        features: Files of features that were written again.
        matrices: Matrices that were written again or removed.
        models: Models whose factors of these users were taken out.
        keys: Keys removed from the cache.
        exported: Rows removed from the exports of this machine.
        elsewhere: Folders of exports that this machine does not have.
    """

    rows: dict[str, int]
    files: int
    features: int
    matrices: int
    models: int
    keys: int
    exported: int
    elsewhere: list[Path]

    def __bool__(self) -> bool:
        """Whether there was anything."""
        made = self.features or self.matrices or self.models
        return bool(self.rows or self.files or made or self.keys or self.exported)

    def and_then(self, later: Erasure) -> Erasure:
        """What this one and a later one removed together."""
        return Erasure(
            rows=dict(Counter(self.rows) + Counter(later.rows)),
            files=self.files + later.files,
            features=self.features + later.features,
            matrices=self.matrices + later.matrices,
            models=self.models + later.models,
            keys=self.keys + later.keys,
            exported=self.exported + later.exported,
            elsewhere=later.elsewhere,
        )


def holdings(warehouse: Warehouse, lake: LakeStore, ids: Sequence[int]) -> dict[str, int]:
    """What there is of some users: rows by table, records or entries by place in the lake."""
    wanted = pl.DataFrame({"id": ids}, schema={"id": pl.Int64})
    with warehouse.hold_erasures():
        with warehouse.connect() as connection:
            found = Counter(in_tables.count_rows(connection, ids))
            exported = list(exports.named_in_exports(connection))
        for named in (*exported, *in_lake(lake)):
            found[named.place] += named.rows.join(wanted, on="id", how="semi").height
    return {place: count for place, count in found.items() if count}


@contextmanager
def alone_with_people(
    warehouse: Warehouse, lake: LakeStore, *, on_wait: Callable[[], None] = lambda: None
) -> Iterator[Callable[[], None]]:
    """Hold the locks under which the lake's files may be rewritten: nobody pulls, reads or serves.

    Args:
        warehouse: Whose.
        lake: What a killed pull has left of it is removed first.
        on_wait: Called when somebody is at work, for whom this waits.

    Yields:
        What confirms that both are held still (`Held.confirm`).

    Raises:
        NothingToDo: When a reset to another world is half done.
    """
    with (
        warehouse.lock("pull", on_wait=on_wait) as pulling,
        warehouse.lock("people", on_wait=on_wait) as people,
    ):

        def confirm() -> None:
            pulling.confirm()
            people.confirm()

        refuse_while_unfinished(lake)
        pulls.sweep(lake, pulls.kept_pulls(lake))
        yield confirm


def erase_users(
    warehouse: Warehouse,
    lake: LakeStore,
    cache: Cache,
    ids: Sequence[int],
    *,
    spool: Path,
    for_good: bool = True,
    on_wait: Callable[[], None] = lambda: None,
    tell: Tell = lambda _: None,
) -> Erasure:
    """Erase everything that is stored under some ids, whoever had them.

    Args:
        warehouse: The tables.
        lake: The files.
        cache: Must answer before anything is changed.
        ids: Of the users; of any number, the files are read once.
        spool: A folder on a local disk; what a killed pull has left there is removed.
        for_good: Whether pulls leave these persons out from now on. Else only what carries their
            ids alone is left out: an account that the source shows again is let in.
        on_wait: Called when somebody is at work with users' data, for whom this waits.
        tell: Told each step that is done, in counts.

    Raises:
        StoreUnavailable: When Postgres or Redis does not answer, or has not meanwhile; repeat it
            then. When the key of earlier erasures is gone.
        NothingToDo: When a reset to another world is half done.
    """
    with (
        cache.connect() as client,
        alone_with_people(warehouse, lake, on_wait=on_wait) as confirm,
    ):

        def done(told: str) -> None:
            tell(told)
            confirm()  # the next step is only for who is alone still

        those_erased(warehouse, lake)  # a second key would unlock nothing of the first
        begun = erased.unfinished(lake)
        of_whom = begun | {one: for_good or begun.get(one, False) for one in ids}
        wanted = sorted(of_whom)
        erased.begin(lake, of_whom)
        _remember(warehouse, lake, of_whom)
        confirm()
        with own_folder(spool) as folder:
            files = in_files.erase_from_files(lake, wanted, folder)
        done(f"{files:,} raw files of the lake")
        with warehouse.connect() as connection:
            rows = in_tables.erase_rows(connection, wanted)
        done(", ".join(f"{n:,} {table}" for table, n in rows.items()) or "0 rows of tables")
        made = in_artifacts.erase_from_artifacts(lake, wanted)
        done(
            f"{made.features:,} files of features, {made.matrices:,} matrices, "
            f"{made.models:,} models"
        )
        lake.sweep("recommend", older_than=timedelta(0))
        keys = in_cache.erase_keys(client, cache.prefix, wanted, made.fingerprints)
        done(f"{keys:,} keys of the cache")
        with warehouse.connect() as connection:
            passed = exports.forget_everywhere(connection, wanted)
        done(f"{passed.rows:,} rows of exports")
        erased.finish(lake)
    return Erasure(
        rows,
        files,
        made.features,
        made.matrices,
        made.models,
        keys,
        passed.rows,
        passed.not_here,
    )


def _remember(warehouse: Warehouse, lake: LakeStore, of_whom: Mapping[int, bool]) -> None:
    """Write down who is erased: all for good, and of the others those of whom there is anything.

    Of whom nothing is stored may be in the source all the same, and in the next pull.
    """
    ids = list(of_whom)
    with warehouse.connect() as connection:
        persons = in_tables.accounts_of(connection, ids)
    persons |= in_files.accounts_in_files(lake, ids)
    seen = {one for one, _ in persons}
    known = seen | {one for one in ids if of_whom[one]}
    if len(known) < len(ids):  # a listen may be all there is of somebody
        known |= _named(warehouse, lake, set(ids) - known)
    if not known:
        return
    key = ensure_key(lake)
    with warehouse.connect() as connection:
        remember(
            connection,
            accounts=[hash_account(key, one) for one in sorted(known)],
            persons=[
                *(hash_person(key, one, at) for one, at in sorted(persons) if of_whom[one]),
                *(erased.hash_unseen(key, one) for one in ids if of_whom[one] and one not in seen),
            ],
        )


def _named(warehouse: Warehouse, lake: LakeStore, ids: set[int]) -> set[int]:
    """Those of some ids that any place names."""
    wanted = pl.DataFrame({"id": sorted(ids)}, schema={"id": pl.Int64})
    return {
        one
        for named in everywhere(warehouse, lake)
        for one in named.rows.join(wanted, on="id", how="semi")["id"].to_list()
    }
