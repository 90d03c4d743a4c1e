"""Whether what is served is the champion's, and made of all that is known by now.

What is done about it is told in `upkeep.py`; the command `run` asks the same.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from moovitamix.serve.generations import Generation
from moovitamix.warehouse.blocklist import changed_since

if TYPE_CHECKING:
    import psycopg

_NEWEST = "SELECT max(day), max(published_at) FROM published_days"


def news_since(
    connection: psycopg.Connection, generation: Generation, champion: int, today: date
) -> str | None:
    """What a generation lacks, in a sentence; None when nothing.

    An earlier run may have been stopped before it published, or have loaded alone; and somebody may
    have promoted another version, or blocked a track or an artist since.

    Args:
        connection: A transaction of the warehouse.
        generation: The one that is served.
        champion: The registry's version.
        today: By the clock that ends of the blocklist's entries go by.
    """
    if generation.model_version != champion:
        return f"{generation.name} is not by the champion, v{champion}."
    made = generation.published_at
    row = connection.execute(_NEWEST).fetchone()
    newest, loaded_at = row if row is not None else (None, None)
    if newest is not None and newest != generation.as_of:
        return f"{generation.name} is older than the newest day, {newest}."
    if loaded_at is not None and loaded_at > made:
        return f"Days were loaded since {generation.name} was published."
    if changed_since(connection, made, day=made.date(), today=today):
        return f"The blocklist has changed since {generation.name} was published."
    return None
