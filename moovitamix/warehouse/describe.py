"""The declared tables in Dagster's words: column schemas and their lineage, for the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql

from moovitamix.tabular import Tabular
from moovitamix.warehouse.staged_tables import staged_listens, staged_tracks, staged_users
from moovitamix.warehouse.tables import PUBLISHED

__all__ = ["PUBLISHED", "STAGED", "TABLES", "columns_of"]

_POSTGRES = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy does not type it
_WITH_ZONE = "timestamptz"

# Of columns that several tables have, and that carry no comment in the database.
_MEANING = {
    "run_id": "The run that staged it.",
    "staged_at": "When it was staged.",
    "feature": "Which of the distributions and figures that are compared.",
    "verdict": "steady, warning, drifted or cannot tell.",
    "read_at": "When it was read.",
}

STAGED = (staged_tracks, staged_users, staged_listens)


def _same(asset: str, *columns: str) -> dict[str, list[str]]:
    """Columns that are called what they are called in the asset before."""
    return {column: [f"{asset}.{column}"] for column in columns}


# As `stage.py` casts them and `statements.py` publishes them. What is missing is ours: which run,
# which day, which pull; ids that the database gives; `withdrawn_at`, by what a pull lacks.
_ORIGINS: dict[str, Mapping[str, Sequence[str]]] = {
    "staged_tracks": {
        **_same("raw_tracks", "id", "name", "artist", "songwriters", "genres", "album"),
        **_same("raw_tracks", "created_at", "updated_at"),
        "duration_seconds": ["raw_tracks.duration"],
    },
    "staged_users": {
        **_same("raw_users", "id", "first_name", "last_name", "email", "gender"),
        **_same("raw_users", "favorite_genres", "created_at", "updated_at"),
    },
    "staged_listens": {
        **_same("raw_listen_history", "user_id", "listened_at"),
        "track_id": ["raw_listen_history.items"],
        "recorded_at": ["raw_listen_history.created_at"],
        "nth": ["raw_listen_history.items"],
    },
    "genres": {"name": ["staged_tracks.genres", "staged_users.favorite_genres"]},
    "tracks": {
        **_same("staged_tracks", "id", "name", "artist", "songwriters", "album"),
        **_same("staged_tracks", "created_at", "updated_at", "pull"),
        "duration": ["staged_tracks.duration_seconds"],
    },
    "users": {
        **_same("staged_users", "id", "first_name", "last_name", "email", "gender"),
        **_same("staged_users", "created_at", "updated_at", "pull"),
    },
    "track_genres": {"track_id": ["staged_tracks.id"], "genre_id": ["staged_tracks.genres"]},
    "user_favorite_genres": {
        "user_id": ["staged_users.id"],
        "genre_id": ["staged_users.favorite_genres"],
    },
    "listen_history": _same(
        "staged_listens", "user_id", "track_id", "listened_at", "recorded_at", "nth", "told"
    ),
}


def columns_of(table: Table) -> list[dg.TableColumn]:
    """The columns of a table with types, descriptions and constraints."""
    return [
        dg.TableColumn(
            column.name,
            type=_type_name(column),
            description=column.comment or _MEANING.get(column.name),
            constraints=dg.TableColumnConstraints(
                nullable=bool(column.nullable), unique=bool(column.unique)
            ),
        )
        for column in table.columns
    ]


def _type_name(column: Column[Any]) -> str:
    """As Postgres calls it, in its own short words where there are some."""
    named = str(column.type.compile(dialect=_POSTGRES)).lower()
    return named.replace(" without time zone", "").replace("timestamp with time zone", _WITH_ZONE)


def constraints_of(table: Table) -> dg.TableConstraints | None:
    """The primary key of a table, where it has one."""
    key = ", ".join(column.name for column in table.primary_key)
    return dg.TableConstraints(other=[f"primary key ({key})"]) if key else None


TABLES: dict[str, Tabular] = {
    table.name: Tabular(columns_of(table), _ORIGINS[table.name], constraints_of(table))
    for table in (*STAGED, *PUBLISHED)
}
