"""What goes wrong in Postgres is told without the rows that it went wrong with."""

from __future__ import annotations

import traceback

import psycopg
import pytest

from moovitamix.resources import Warehouse


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ('SELECT \'{"email": NaN, "of": "perpetua"}\'::text::json', "type json"),
        ("INSERT INTO genres (name) VALUES ('perpetua'), ('perpetua')", "uq_genres_name"),
        ("SELEC 1", "syntax error"),
    ],
)
def test_an_error_says_what_is_wrong_and_quotes_no_row(
    warehouse: Warehouse, statement: str, told: str
) -> None:
    with pytest.raises(psycopg.Error, match=told) as caught, warehouse.connect() as connection:
        connection.execute(statement.encode())
    assert "perpetua" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.diag.sqlstate == caught.value.sqlstate


def test_of_rows_that_cannot_be_copied_none_is_quoted(warehouse: Warehouse) -> None:
    with (
        pytest.raises(psycopg.Error) as caught,
        warehouse.connect() as connection,
        connection.cursor().copy("COPY staged_users (id, email) FROM STDIN") as copy,
    ):
        copy.write(b"none\tperpetua\n")
    assert "perpetua" not in "".join(traceback.format_exception(caught.value))
