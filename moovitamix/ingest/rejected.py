"""Records that break the contract as rows, each payload once.

Which ones do is told by `decode.py`; what becomes of them, by `fetch.py` and `bring.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl

from moovitamix.ingest.decode import Rejected

REJECTED_SCHEMA = {
    "payload": pl.Binary,
    "sha256": pl.Binary,
    "field": pl.String,
    "reason": pl.String,
}


def rejected_frame(rejected: Sequence[Rejected]) -> pl.DataFrame:
    """Rejected records as a frame, one row per payload, columns as `REJECTED_SCHEMA`."""
    rows = [(r.payload, hashlib.sha256(r.payload).digest(), r.field, r.reason) for r in rejected]
    frame = pl.DataFrame(rows, schema=REJECTED_SCHEMA, orient="row")
    return frame.unique("sha256", keep="first", maintain_order=True)
