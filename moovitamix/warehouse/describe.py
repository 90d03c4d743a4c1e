"""The declared tables in Dagster's words: column schemas for the lineage and the catalogue."""

from __future__ import annotations

import dagster as dg
from sqlalchemy import Table

from moovitamix.warehouse.tables import PUBLISHED

__all__ = ["PUBLISHED", "column_schema"]


def column_schema(table: Table) -> dg.TableSchema:
    """The columns of a table with types, descriptions and constraints."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                type=str(column.type).lower(),
                description=column.comment,
                constraints=dg.TableColumnConstraints(
                    nullable=bool(column.nullable), unique=bool(column.unique)
                ),
            )
            for column in table.columns
        ],
        constraints=dg.TableConstraints(
            other=[f"primary key ({', '.join(c.name for c in table.primary_key)})"]
        ),
    )
