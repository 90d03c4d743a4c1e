"""Bytes of a cached list: track ids with their scores, or ids alone.

Where the bytes are kept and what a list means does not belong here (`generations.py`).

A value is little-endian throughout::

    version  uint8    1, or 2 with a mark
    layout   uint8    bytes of an id (4 or 8) * 16 + bytes of a score (0, 2 or 4)
    count    uint16   entries
    mark     uint64   only in version 2: how much was known of the user (`activity_marks`)
    entries  count *  (id: signed integer, score: IEEE float), best first
    crc32    uint32   of everything before it

Entries are interleaved, so that a list is one piece of a longer array of entries, wherever it ends.
The length is told by the head, so every truncation is found; the checksum finds the rest. A list
without a mark knows what was loaded when it was published, as if its mark were 0.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moovitamix.errors import MoovitaMixError

VERSION = 1
MARKED = 2
MAX_ENTRIES = 0xFFFF

_HEAD = np.dtype([("version", "<u1"), ("layout", "<u1"), ("count", "<u2")])
_HEAD_BYTES = 4
MARK_BYTES = 8
# The bytes of a value that its mark can be read from.
MARKED_HEAD = _HEAD_BYTES + MARK_BYTES
_CRC_BYTES = 4
_INT32 = np.iinfo(np.int32)
_LAYOUTS: dict[int, np.dtype[np.void]] = {
    id_bytes * 16 + score_bytes: np.dtype(
        [("id", f"<i{id_bytes}")] + ([("score", f"<f{score_bytes}")] if score_bytes else [])
    )
    for id_bytes in (4, 8)
    for score_bytes in (0, 2, 4)
}


_BODY_AT = {VERSION: _HEAD_BYTES, MARKED: MARKED_HEAD}


class DamagedValue(MoovitaMixError):
    """A cached value is not a whole list of a known version: treat it as missing."""


class TopN(NamedTuple):
    """A decoded list, best first.

    Attributes:
        ids: Of tracks, or of what the list is about: int64, shape (n,).
        scores: float32, shape (n,); zeros where the value holds ids alone.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


def encode_list(
    track_ids: NDArray[np.integer], scores: NDArray[np.floating], *, exact: bool = False
) -> bytes:
    """The bytes of one list.

    Args:
        track_ids: Shape (n,), best first; n at most 65,535.
        scores: Shape (n,), finite.
        exact: Keep scores as float32; else float16 (three digits) where their range allows.

    Raises:
        ValueError: When shapes differ, a score is not finite, or the list is too long.
    """
    if np.ndim(track_ids) != 1:
        raise ValueError(f"A list has one dimension, not {np.ndim(track_ids)}. Pass a 1-d array.")
    return encode_block(np.asarray(track_ids)[None, :], np.asarray(scores)[None, :], exact=exact)[0]


def encode_block(
    track_ids: NDArray[np.integer],
    scores: NDArray[np.floating],
    lengths: NDArray[np.integer] | None = None,
    *,
    exact: bool = False,
) -> list[bytes]:
    """The bytes of many lists at once, the same layout for all of them.

    Args:
        track_ids: Shape (lists, n), best first.
        scores: Shape (lists, n).
        lengths: Shape (lists,): how many entries of each row count; None means all n. What is
            behind them is neither looked at nor kept.
        exact: As in `encode_list`.

    Raises:
        ValueError: As in `encode_list`.
    """
    if track_ids.shape != scores.shape or track_ids.ndim != 2:
        raise ValueError(
            f"Ids {track_ids.shape} and scores {scores.shape} differ in shape. Pass equal 2-d ones."
        )
    lists, width = track_ids.shape
    _refuse_too_long(width)
    if lengths is None:
        lengths = np.full(lists, width)
    counted = np.arange(width) < lengths[:, None]
    ids = np.where(counted, track_ids, 0).ravel()
    kept = _finite(np.where(counted, scores, 0.0).ravel())
    layout = _id_bytes(ids) * 16 + _score_bytes(kept, exact=exact)
    return _pack(ids, kept, np.arange(lists) * width, lengths, layout)


def encode_groups(
    owners: NDArray[np.integer],
    ids: NDArray[np.integer],
    scores: NDArray[np.floating] | None = None,
) -> tuple[NDArray[np.int64], list[bytes]]:
    """The bytes of many lists that lie in one column, one after the other.

    Args:
        owners: Shape (n,), ascending: whose entry it is.
        ids: Shape (n,), best first within an owner.
        scores: Shape (n,), kept exactly; None: the lists hold ids alone.

    Returns:
        The owners, each once, and the value of each.

    Raises:
        ValueError: As in `encode_list`.
    """
    found, starts, lengths = np.unique(owners, return_index=True, return_counts=True)
    _refuse_too_long(int(lengths.max(initial=0)))
    kept = None if scores is None else _finite(scores)
    layout = _id_bytes(ids) * 16 + (0 if kept is None else 4)
    return found.astype(np.int64), _pack(ids, kept, starts, lengths, layout)


def encode_ids(ids: NDArray[np.integer]) -> bytes:
    """The bytes of one list of ids alone.

    Args:
        ids: Shape (n,), n at most 65,535.

    Raises:
        ValueError: When the list is too long.
    """
    _refuse_too_long(len(ids))
    start, length = np.zeros(1, dtype=np.int64), np.array([len(ids)])
    return _pack(ids, None, start, length, _id_bytes(ids) * 16)[0]


def decode_list(value: bytes) -> TopN:
    """The list that a value holds.

    Raises:
        DamagedValue: When the value is truncated, altered, or of a version unknown here.
    """
    entries = _entries(value)
    has_scores = "score" in (entries.dtype.names or ())
    return TopN(
        entries["id"].astype(np.int64),
        entries["score"].astype(np.float32) if has_scores else np.zeros(len(entries), np.float32),
    )


def without_ids(value: bytes, ids: NDArray[np.int64]) -> bytes:
    """The value of the same list without some entries, all else bit for bit as it was.

    Raises:
        DamagedValue: As `decode_list`.
    """
    entries = _entries(value)
    kept = entries[~np.isin(entries["id"], ids)]
    if len(kept) == len(entries):
        return value
    head = value[:2] + len(kept).to_bytes(2, "little") + value[_HEAD_BYTES : _BODY_AT[value[0]]]
    body = head + kept.tobytes()
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "little")


def _entries(value: bytes) -> NDArray[np.void]:
    if len(value) < _HEAD_BYTES + _CRC_BYTES:
        raise DamagedValue(f"A value of {len(value)} bytes is no list. Publish again.")
    version, layout, count = value[0], value[1], int.from_bytes(value[2:4], "little")
    entry = _LAYOUTS.get(layout)
    if version not in _BODY_AT or entry is None:
        raise DamagedValue(
            f"A value of version {version}, layout {layout:#x} is unknown. "
            "Publish again with this version of MoovitaMix."
        )
    start = _BODY_AT[version]
    end = start + count * entry.itemsize
    if len(value) != end + _CRC_BYTES or zlib.crc32(value[:end]) != int.from_bytes(
        value[end:], "little"
    ):
        raise DamagedValue(f"A value of {count} entries is truncated or altered. Publish again.")
    return np.frombuffer(value, dtype=entry, count=count, offset=start)


def with_mark(value: bytes, mark: int) -> bytes:
    """A list without a mark, as `encode_block` and its like make it, with one.

    Args:
        value: Version 1.
        mark: At least 0, below 2 ** 53: what compares it counts in floating point.
    """
    body = bytes((MARKED,)) + value[1:_HEAD_BYTES] + mark.to_bytes(MARK_BYTES, "little")
    body += value[_HEAD_BYTES:-_CRC_BYTES]
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "little")


def mark_of(head: bytes) -> int:
    """The mark of a list; 0 where it has none. Its first `MARKED_HEAD` bytes are enough."""
    if len(head) < MARKED_HEAD or head[0] != MARKED:
        return 0
    return int.from_bytes(head[_HEAD_BYTES:MARKED_HEAD], "little")


def _refuse_too_long(length: int) -> None:
    if length > MAX_ENTRIES:
        raise ValueError(f"{length} entries do not fit. Pass at most {MAX_ENTRIES}.")


def _finite(scores: NDArray[np.floating]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        single = scores.astype(np.float32)
    if not np.isfinite(single).all():
        raise ValueError("A score is not finite. Leave such entries out by `lengths`.")
    return single


def _id_bytes(ids: NDArray[np.integer]) -> int:
    fits = ids.size == 0 or (ids.min() >= _INT32.min and ids.max() <= _INT32.max)
    return 4 if fits else 8


def _score_bytes(scores: NDArray[np.floating], *, exact: bool) -> int:
    if exact or (scores.size and float(np.abs(scores).max()) >= float(np.finfo(np.float16).max)):
        return 4
    return 2


def _pack(
    ids: NDArray[np.integer],
    scores: NDArray[np.float32] | None,
    starts: NDArray[np.integer],
    lengths: NDArray[np.integer],
    layout: int,
) -> list[bytes]:
    """The values of lists that start and end anywhere in flat arrays of ids and scores."""
    entry = _LAYOUTS[layout]
    entries = np.empty(len(ids), dtype=entry)
    entries["id"] = ids
    if scores is not None:
        entries["score"] = scores
    heads = np.empty(len(lengths), dtype=_HEAD)
    heads["version"], heads["layout"], heads["count"] = VERSION, layout, lengths
    head_bytes, data = memoryview(heads.tobytes()), memoryview(entries.tobytes())
    firsts, lasts = starts * entry.itemsize, (starts + lengths) * entry.itemsize
    values = []
    for index, (first, last) in enumerate(zip(firsts.tolist(), lasts.tolist(), strict=True)):
        head = head_bytes[index * _HEAD_BYTES : (index + 1) * _HEAD_BYTES]
        body = data[first:last]
        crc = zlib.crc32(body, zlib.crc32(head))
        values.append(b"".join((head, body, crc.to_bytes(_CRC_BYTES, "little"))))
    return values
