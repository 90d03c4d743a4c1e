"""What the published tables should be like as a whole: rules, as data, each one SQL count.

They warn and do not block: by then the rows are published, and people decide what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class TableRule:
    """A rule for a table.

    Args:
        name: Of the Dagster check.
        table: The table it is about.
        why: What goes wrong when it is broken.
        query: Gives two numbers: how many break the rule, and of how many.
        share_allowed: How large a share may break it.
    """

    name: str
    table: str
    why: str
    query: str
    share_allowed: float = 0.0

    def holds(self, broken: int, rows: int) -> bool:
        """Whether few enough break the rule."""
        return broken <= self.share_allowed * rows


TABLE_RULES = (
    TableRule(
        "not_empty",
        "tracks",
        "Without tracks there is nothing to recommend.",
        "SELECT (count(*) = 0)::int, 1 FROM tracks",
    ),
    TableRule(
        "not_empty",
        "users",
        "Without users there is nobody to recommend to.",
        "SELECT (count(*) = 0)::int, 1 FROM users",
    ),
    TableRule(
        "names_folded",
        "genres",
        "Two spellings of one genre would split its listeners.",
        "SELECT count(*) FILTER (WHERE name = '' OR name <> btrim(name) OR name ~ '\\s\\s'), "
        "count(*) FROM genres",
    ),
    TableRule(
        "tracks_have_genres",
        "track_genres",
        "A track without a genre is missing from every genre's popular list.",
        "SELECT count(*) FILTER (WHERE NOT EXISTS (SELECT FROM track_genres g "
        "WHERE g.track_id = t.id)), count(*) FROM tracks t",
        share_allowed=0.05,
    ),
    TableRule(
        "users_have_favorites",
        "user_favorite_genres",
        "A new user without a favourite genre gets the world's top list.",
        "SELECT count(*) FILTER (WHERE NOT EXISTS (SELECT FROM user_favorite_genres g "
        "WHERE g.user_id = u.id)), count(*) FROM users u",
        share_allowed=0.2,
    ),
    TableRule(
        "few_in_quarantine",
        "listen_history",
        "Many listens of unknown users or tracks mean that the source tells half the story.",
        "SELECT (SELECT count(*) FROM quarantine WHERE endpoint = 'listens' "
        "AND resolved_at IS NULL), (SELECT count(*) FROM listen_history)",
        share_allowed=0.05,
    ),
)


def count_broken(connection: psycopg.Connection, rule: TableRule) -> tuple[int, int]:
    """How many rows break a rule, and of how many."""
    row = connection.execute(rule.query).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)
