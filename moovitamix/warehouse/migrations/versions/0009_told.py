"""Which listens the app told before a pull brought them: in the staging area and once loaded."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # As text: of a table in the staging area, Alembic would look for the comment elsewhere.
    op.execute("ALTER TABLE staged_listens ADD COLUMN told boolean NOT NULL DEFAULT false")
    op.execute(
        "COMMENT ON COLUMN staged_listens.told IS "
        "'Whether it is what POST /listens took in, not what a pull brought.'"
    )
    op.add_column(
        "listen_history",
        sa.Column(
            "told",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="Whether the app had told it when it was loaded: no pull need know it.",
        ),
    )


def downgrade() -> None:
    op.drop_column("listen_history", "told")
    op.execute("ALTER TABLE staged_listens DROP COLUMN told")
