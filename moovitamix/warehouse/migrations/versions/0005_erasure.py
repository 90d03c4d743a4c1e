"""Erasure: who was erased, as keyed hashes, and whose record a row of the quarantine is."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Payloads of `listens` are ours, and JSON for sure; those of the other endpoints may be anything,
# and are read when they are looked for.
_KEYS_OF_LISTENS = """
UPDATE quarantine
SET key = (listen ->> 'user_id') || ' '
       || (extract(epoch FROM (listen ->> 'recorded_at')::timestamp) * 1000000)::bigint
FROM (SELECT endpoint, sha256, convert_from(payload, 'UTF8')::json AS listen
      FROM quarantine WHERE endpoint = 'listens') AS ours
WHERE quarantine.endpoint = ours.endpoint AND quarantine.sha256 = ours.sha256
"""


def upgrade() -> None:
    op.add_column(
        "quarantine",
        sa.Column(
            "key",
            sa.Text(),
            nullable=True,
            comment="Whose record it is, where that can be read: see `ingest/whose.py`.",
        ),
    )
    op.execute(_KEYS_OF_LISTENS)
    op.create_table(
        "erasures",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment="account: of an id; person: of an id and when its account was created.",
        ),
        sa.Column(
            "erased_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("kind IN ('account', 'person')", name=op.f("ck_erasures_known_kind")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_erasures")),
        comment="Who was erased, as keyed hashes; the key is in the lake.",
    )


def downgrade() -> None:
    op.drop_table("erasures")
    op.drop_column("quarantine", "key")
