"""What the declarations of all tables share: the metadata they are in, and types of columns.

No table is declared here: see `tables.py`.
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    DateTime,
    MetaData,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Moments come from the source without a zone and are UTC; a zone-less type keeps them as sent.
Moment = DateTime(timezone=False)
OurMoment = DateTime(timezone=True)


def pull(
    comment: str = "The pull that brought this content; an older one never overwrites a newer.",
) -> Column[str]:
    """The column that tells which pull a row came with."""
    return Column("pull", Text, nullable=False, comment=comment)
