"""Who was erased, known by keyed hashes alone, and how a pull leaves them out.

Two hashes (HMAC-SHA256): of a person's id and the moment their account was created, which tells
their record from that of whoever is given the id later; and of the id alone, for what carries no
more than that. Of whom no pull had seen the account that moment is not known: then the moment of
the erasure tells, for whoever is given the id later is created after it. The hashes are in
Postgres, the key is in the lake: neither alone tells who it was.

    erasure/key               32 random bytes, made with the first erasure
    erasure/unfinished.json   ids whose erasure is under way or was killed; gone when it is done
"""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import polars as pl

from moovitamix.errors import StoreUnavailable
from moovitamix.ingest.contract import LISTENS, USERS, Endpoint
from moovitamix.ingest.fetch import Reading
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.whose import legible_key, microseconds

KEY_FILE = "erasure/key"
_UNFINISHED = "erasure/unfinished.json"

Person = tuple[int, datetime]


@dataclass(frozen=True)
class Erased:
    """Those who were erased; may only be asked.

    Args:
        key: Of the hashes; empty where nobody was erased.
        accounts: Hashes of their ids.
        persons: Hashes of ids and moments of creation, or of unseen accounts; and when (naive UTC)
            each was erased last.
    """

    key: bytes = field(repr=False)
    accounts: frozenset[bytes] = field(repr=False)
    persons: Mapping[bytes, datetime] = field(repr=False)

    def __bool__(self) -> bool:
        """Whether anybody was."""
        return bool(self.accounts)

    def has_account(self, user_id: int) -> bool:
        """Whether somebody was erased who had this id."""
        return hash_account(self.key, user_id) in self.accounts

    def is_person(self, user_id: int, created_at: datetime) -> bool:
        """Whether the account of this id that was created then was erased."""
        if hash_person(self.key, user_id, created_at) in self.persons:
            return True
        unseen = self.persons.get(hash_unseen(self.key, user_id))
        return unseen is not None and created_at <= unseen

    def suspects(self, user_ids: Iterable[int]) -> list[int]:
        """Those ids that somebody had who was erased; others may have them by now."""
        return [user_id for user_id in user_ids if self.has_account(user_id)]


NOBODY = Erased(b"", frozenset(), {})


def hash_account(key: bytes, user_id: int) -> bytes:
    """The keyed hash of an id."""
    return hmac.digest(key, b"account:%d" % user_id, "sha256")


def hash_person(key: bytes, user_id: int, created_at: datetime) -> bytes:
    """The keyed hash of an id and the naive UTC moment its account was created."""
    return hmac.digest(key, b"person:%d:%d" % (user_id, microseconds(created_at)), "sha256")


def hash_unseen(key: bytes, user_id: int) -> bytes:
    """The keyed hash of whoever had an id, of whom nobody knew when the account was created."""
    return hmac.digest(key, b"unseen:%d" % user_id, "sha256")


def read_key(lake: LakeStore) -> bytes:
    """The key of all hashes.

    Raises:
        StoreUnavailable: When it is gone: then nobody can tell any more who was erased.
    """
    try:
        return lake.read_bytes(KEY_FILE)
    except FileNotFoundError as error:
        raise StoreUnavailable(
            f"Users were erased, and the lake's {KEY_FILE} is gone, without which a pull would "
            "bring them back. Restore it from a backup; docs/erasure.md tells what else there is."
        ) from error


def ensure_key(lake: LakeStore) -> bytes:
    """The same, made when there is none. Only one who holds erasures alone may make it."""
    if not lake.exists(KEY_FILE):
        lake.write_bytes(KEY_FILE, secrets.token_bytes(32))
    return read_key(lake)


def unfinished(lake: LakeStore) -> dict[int, bool]:
    """The ids whose erasure is not done yet, and whether it is for good."""
    if not lake.exists(_UNFINISHED):
        return {}
    return dict(msgspec.json.decode(lake.read_bytes(_UNFINISHED), type=list[tuple[int, bool]]))


def begin(lake: LakeStore, ids: Mapping[int, bool]) -> None:
    """Note whose erasure has begun, so that whoever comes next can complete it."""
    lake.write_bytes(_UNFINISHED, msgspec.json.encode(list(ids.items())))


def finish(lake: LakeStore) -> None:
    """Note that all of it is done."""
    lake.remove(_UNFINISHED)


def leave_out(readings: Mapping[str, Reading], erased: Erased) -> Counter[str]:
    """Take those who were erased out of what was read; how many records, by endpoint.

    - A user's record goes when it is the erased person's.
    - A listen of an id that somebody was erased under stays only where the id has another
      account now, in this very reading, and the listen was not recorded before that account was
      created: what is older was the erased person's.
    - Of rejected records the same is asked, as far as their keys can be read; where the moment
      cannot, the id is enough.

    Args:
        readings: By endpoint; changed in place.
        erased: Who.
    """
    counts: Counter[str] = Counter()
    if not erased:
        return counts
    users, listens = readings[USERS.name], readings[LISTENS.name]
    successors: dict[int, datetime] = {}
    for number in range(users.records.parts):
        part = users.records.part(number)
        named = erased.suspects(part["id"].to_list())
        accounts = dict(part.filter(pl.col("id").is_in(named)).select("id", "created_at").rows())
        gone = [one for one, created in accounts.items() if erased.is_person(one, created)]
        successors |= {one: at for one, at in accounts.items() if one not in gone}
        counts[USERS.name] += _replace(users, number, part.filter(~pl.col("id").is_in(gone)))
    for number in range(listens.records.parts):
        part = listens.records.part(number)
        kept = part.filter(~of_erased(part, erased, successors))
        counts[LISTENS.name] += _replace(listens, number, kept)
    for reading in (users, listens):
        for number in range(reading.rejected.parts):
            part = reading.rejected.part(number)
            theirs = [
                _is_erased(reading.endpoint, payload, erased, successors)
                for payload in part["payload"]
            ]
            kept = part.filter(~pl.Series(theirs, dtype=pl.Boolean))
            if kept.height < part.height:
                reading.rejected.replace(number, kept)
                counts[reading.endpoint.name] += part.height - kept.height
    return counts


def of_erased(
    listens: pl.DataFrame, erased: Erased, successors: Mapping[int, datetime]
) -> pl.Series:
    """Which listens are those of somebody erased, row by row.

    Args:
        listens: With `user_id` and `created_at`.
        erased: Who.
        successors: When the account was created that has the id of one of them now.
    """
    suspects = erased.suspects(listens["user_id"].unique().to_list())
    since = pl.DataFrame(
        [(one, successors.get(one)) for one in suspects],
        schema={"user_id": pl.Int64, "since": pl.Datetime("us")},
        orient="row",
    ).with_columns(suspect=True)
    joined = listens.select("user_id", "created_at").join(
        since, on="user_id", how="left", maintain_order="left"
    )
    theirs = pl.col("suspect").fill_null(False) & (
        pl.col("since").is_null() | (pl.col("created_at") < pl.col("since"))
    )
    return joined.select(theirs.alias("theirs")).to_series()


def _is_erased(
    endpoint: Endpoint, payload: bytes, erased: Erased, successors: Mapping[int, datetime]
) -> bool:
    user_id, created = legible_key(endpoint, payload)
    if user_id is None or not erased.has_account(user_id):
        return False
    if created is None:
        return True
    if endpoint is USERS:
        return erased.is_person(user_id, created)
    return user_id not in successors or created < successors[user_id]


def _replace(reading: Reading, number: int, kept: pl.DataFrame) -> int:
    left_out = reading.records.part(number).height - kept.height
    if left_out:
        reading.records.replace(number, kept)
    return left_out
