"""Tables in Dagster's words: their columns, the columns that these come from, rows by day.

What columns a table has is told beside its declaration: `ingest/describe.py`,
`warehouse/describe.py`, `recommend/feature_columns.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg

# The kind of an asset that is a table: whoever has it tells columns, their origins and rows.
KIND = "table"

SCHEMA, LINEAGE = "dagster/column_schema", "dagster/column_lineage"
ROWS, ROWS_OF_DAY = "dagster/row_count", "dagster/partition_row_count"


@dataclass(frozen=True)
class Tabular:
    """An asset that is a table.

    Attributes:
        columns: In the table's order.
        origins: By column, the columns of assets before it that its values are made of, as
            `asset.column`; a column that is ours has none.
        constraints: Of the whole table.
    """

    columns: Sequence[dg.TableColumn]
    origins: Mapping[str, Sequence[str]] = field(default_factory=dict)
    constraints: dg.TableConstraints | None = None

    def definition(self) -> dict[str, Any]:
        """Metadata of the asset's definition: schema, and lineage where it has any.

        Dagster's own UI draws no lineage of columns (Dagster+ and catalogues do), so a column's
        description names its origin, too.
        """
        columns = [
            dg.TableColumn(
                column.name,
                type=column.type,
                description=_described(column.description, self.origins.get(column.name, ())),
                constraints=column.constraints,
            )
            for column in self.columns
        ]
        schema = dg.TableSchema(columns=columns, constraints=self.constraints)
        return {SCHEMA: schema, **self.lineage()}

    def lineage(self) -> dict[str, dg.TableColumnLineage]:
        """Metadata of a materialization, where those who draw a lineage look for it."""
        deps = {
            column: [_dep(origin) for origin in origins] for column, origins in self.origins.items()
        }
        return {LINEAGE: dg.TableColumnLineage(deps)} if deps else {}


def tell_days(
    context: dg.AssetExecutionContext,
    asset: str,
    table: Tabular,
    days: Sequence[date],
    rows: Mapping[date, int] | None = None,
) -> None:
    """Metadata of single days: what is told of a range once stands on all of its days.

    Args:
        context: Of the run that materializes these days.
        asset: Its key.
        table: The lineage is told of the last day alone: it never changes, the newest is what is
            looked at, and years of it would fill the history.
        days: Oldest first.
        rows: By day, the rows that are its own; a day that is not there has none.
    """
    for day in days if rows is not None else ():
        told = {ROWS_OF_DAY: (rows or {}).get(day, 0)}
        context.add_asset_metadata(told, asset_key=asset, partition_key=day.isoformat())
    if days and table.origins:
        last = days[-1].isoformat()
        context.add_asset_metadata(table.lineage(), asset_key=asset, partition_key=last)


def _described(comment: str | None, origins: Sequence[str]) -> str | None:
    told = f"From {', '.join(origins)}." if origins else None
    return " ".join(filter(None, [comment, told])) or None


def _dep(origin: str) -> dg.TableColumnDep:
    asset, _, column = origin.rpartition(".")
    return dg.TableColumnDep(asset_key=asset, column_name=column)
