"""A query's rows come back as a frame with the values that the database holds."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moovitamix.errors import StoreUnavailable
from moovitamix.resources import Warehouse

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        TEXT,
        st.none() | TEXT.filter(bool),
        st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001
    ),
    max_size=6,
)
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "n": pl.Int64,
    "said": pl.String,
    "maybe": pl.String,
    "at": pl.Datetime("us"),
}


@given(rows=ROWS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_are_read_as_they_are(
    warehouse: Warehouse, rows: list[tuple[int, str, str | None, datetime]]
) -> None:
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    found = warehouse.read(
        "SELECT * FROM unnest(%(n)s::bigint[], %(said)s::text[], %(maybe)s::text[], "
        "%(at)s::timestamp[])",
        dict(zip(SCHEMA, map(list, columns), strict=True)),
        schema=SCHEMA,
    )
    assert found.rows() == rows
    assert dict(found.schema) == SCHEMA


def test_a_block_that_raises_has_changed_nothing(warehouse: Warehouse) -> None:
    def insert_and_fail() -> None:
        with warehouse.connect() as connection:
            connection.execute("INSERT INTO genres (name) VALUES ('jazz')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        insert_and_fail()
    with warehouse.connect() as connection:
        assert connection.execute("SELECT count(*) FROM genres").fetchone() == (0,)


def test_a_database_that_does_not_answer_says_what_to_do() -> None:
    nowhere = Warehouse(url="postgresql://nobody@127.0.0.1:1/none", namespace="nowhere")
    with pytest.raises(StoreUnavailable, match="MOOVITAMIX_DATABASE_URL"), nowhere.connect():
        pass
