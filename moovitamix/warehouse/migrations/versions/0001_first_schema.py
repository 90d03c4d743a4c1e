"""The first schema: the six tables, quarantine, days, model registry and staging area."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blocked_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("check_name", sa.Text(), nullable=False),
        sa.Column(
            "pull",
            sa.Text(),
            nullable=False,
            comment="The newest pull when the day was judged; a newer one has it tried again.",
        ),
        sa.Column(
            "since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("accepted_by", sa.Text(), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("day", "endpoint", "check_name", name=op.f("pk_blocked_days")),
        comment="The days that failed a blocking check, until a later load passes or one accepts.",
    )
    op.create_table(
        "genres",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Ours."),
        sa.Column(
            "name", sa.Text(), nullable=False, comment="Lower case, white space folded to one."
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_genres")),
        sa.UniqueConstraint("name", name=op.f("uq_genres_name")),
        comment="One row per genre that a track or a user names.",
    )
    op.create_table(
        "model_versions",
        sa.Column("version", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("provisional", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False, comment="What is served under it."),
        sa.Column("as_of", sa.Date(), nullable=False, comment="The last day of its data."),
        sa.Column("pull", sa.Text(), nullable=False, comment="The newest pull in its data."),
        sa.Column("matrix_fingerprint", sa.Text(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "metrics",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("artifact", sa.Text(), nullable=False, comment="Its folder in the lake."),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("promoted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "algorithm IN ('als', 'popularity')", name=op.f("ck_model_versions_known_algorithm")
        ),
        sa.CheckConstraint(
            "status IN ('candidate', 'champion', 'retired', 'rejected')",
            name=op.f("ck_model_versions_known_status"),
        ),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_model_versions")),
        comment="The model registry.",
    )
    op.create_index(
        "uq_model_versions_one_champion",
        "model_versions",
        ["status"],
        unique=True,
        postgresql_where=sa.text("status = 'champion'"),
    )
    op.create_table(
        "published_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column(
            "pull", sa.Text(), nullable=False, comment="The newest pull when the day was published."
        ),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column(
            "published_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_published_days")),
        comment="The days whose slices passed their checks and are in the tables.",
    )
    op.create_table(
        "quarantine",
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False, comment="Of the payload."),
        sa.Column(
            "payload",
            sa.LargeBinary(),
            nullable=False,
            comment="The record as sent, or one listen.",
        ),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column(
            "pull",
            sa.Text(),
            nullable=False,
            comment="The pull that brought this content; an older one never overwrites a newer.",
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "field", sa.Text(), nullable=True, comment="The offending field, where there is one."
        ),
        sa.Column(
            "first_seen",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "last_tried",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("endpoint", "sha256", name=op.f("pk_quarantine")),
        comment="What could not be loaded, and why; tried again by each later load.",
    )
    op.create_table(
        "staged_listens",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column(
            "staged_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "day",
            sa.Date(),
            nullable=True,
            comment="Null: brought along because a listen of the run names it.",
        ),
        sa.Column(
            "pull",
            sa.Text(),
            nullable=False,
            comment="The pull that brought this content; an older one never overwrites a newer.",
        ),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("track_id", sa.BigInteger(), nullable=True),
        sa.Column("listened_at", sa.DateTime(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(), nullable=True),
        sa.Column("nth", sa.SmallInteger(), nullable=True),
        schema="staging",
        prefixes=["UNLOGGED"],
    )
    op.create_index(
        op.f("ix_staged_listens_run_id"),
        "staged_listens",
        ["run_id"],
        unique=False,
        schema="staging",
    )
    op.create_table(
        "staged_tracks",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column(
            "staged_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "day",
            sa.Date(),
            nullable=True,
            comment="Null: brought along because a listen of the run names it.",
        ),
        sa.Column(
            "pull",
            sa.Text(),
            nullable=False,
            comment="The pull that brought this content; an older one never overwrites a newer.",
        ),
        sa.Column("id", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("artist", sa.Text(), nullable=True),
        sa.Column("songwriters", sa.Text(), nullable=True),
        sa.Column("duration_seconds", sa.Integer(), nullable=True),
        sa.Column("genres", sa.Text(), nullable=True, comment="Folded names, joined by commas."),
        sa.Column("album", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=True),
        sa.Column("updated_at", sa.DateTime(), nullable=True),
        schema="staging",
        prefixes=["UNLOGGED"],
    )
    op.create_index(
        op.f("ix_staged_tracks_run_id"), "staged_tracks", ["run_id"], unique=False, schema="staging"
    )
    op.create_table(
        "staged_users",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column(
            "staged_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "day",
            sa.Date(),
            nullable=True,
            comment="Null: brought along because a listen of the run names it.",
        ),
        sa.Column(
            "pull",
            sa.Text(),
            nullable=False,
            comment="The pull that brought this content; an older one never overwrites a newer.",
        ),
        sa.Column("id", sa.BigInteger(), nullable=True),
        sa.Column("first_name", sa.Text(), nullable=True),
        sa.Column("last_name", sa.Text(), nullable=True),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("gender", sa.Text(), nullable=True),
        sa.Column(
            "favorite_genres", sa.Text(), nullable=True, comment="Folded names, joined by commas."
        ),
        sa.Column("created_at", sa.DateTime(), nullable=True),
        sa.Column("updated_at", sa.DateTime(), nullable=True),
        schema="staging",
        prefixes=["UNLOGGED"],
    )
    op.create_index(
        op.f("ix_staged_users_run_id"), "staged_users", ["run_id"], unique=False, schema="staging"
    )
    op.create_table(
        "verdicts",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column(
            "judged_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "failed", sa.ARRAY(sa.Text()), nullable=False, comment="Blocking checks that failed."
        ),
        sa.PrimaryKeyConstraint("run_id", "endpoint", "day", name=op.f("pk_verdicts")),
        schema="staging",
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "tracks",
        sa.Column(
            "id", sa.BigInteger(), autoincrement=False, nullable=False, comment="The source's id."
        ),
        sa.Column("name", sa.Text(), nullable=False, comment="Title; not unique."),
        sa.Column("artist", sa.Text(), nullable=False, comment="Performing artist, as sent."),
        sa.Column("songwriters", sa.Text(), nullable=False, comment="Songwriters, as sent."),
        sa.Column("duration", sa.Interval(), nullable=False, comment="Playing time."),
        sa.Column("album", sa.Text(), nullable=False, comment="Album, as sent."),
        sa.Column(
            "created_at", sa.DateTime(), nullable=False, comment="Created at the source, UTC."
        ),
        sa.Column(
            "updated_at", sa.DateTime(), nullable=False, comment="May be earlier than created_at."
        ),
        sa.Column(
            "withdrawn_at",
            sa.DateTime(),
            nullable=True,
            comment="Gone from a complete pull since then, UTC.",
        ),
        sa.Column(
            "pull",
            sa.Text(),
            nullable=False,
            comment="The pull that brought this content; an older one never overwrites a newer.",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracks")),
        comment="One row per track of the catalogue.",
    )
    op.create_table(
        "users",
        sa.Column(
            "id", sa.BigInteger(), autoincrement=False, nullable=False, comment="The source's id."
        ),
        sa.Column("first_name", sa.Text(), nullable=False, comment="Personal."),
        sa.Column("last_name", sa.Text(), nullable=False, comment="Personal."),
        sa.Column("email", sa.Text(), nullable=False, comment="Personal; not unique."),
        sa.Column("gender", sa.Text(), nullable=False, comment="Personal; free text."),
        sa.Column(
            "created_at", sa.DateTime(), nullable=False, comment="Created at the source, UTC."
        ),
        sa.Column(
            "updated_at", sa.DateTime(), nullable=False, comment="May be earlier than created_at."
        ),
        sa.Column(
            "pull",
            sa.Text(),
            nullable=False,
            comment="The pull that brought this content; an older one never overwrites a newer.",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        comment="One row per user account.",
    )
    op.create_table(
        "listen_history",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="Ours."),
        sa.Column("user_id", sa.BigInteger(), nullable=False, comment="Who heard it."),
        sa.Column("track_id", sa.BigInteger(), nullable=False, comment="What."),
        sa.Column("listened_at", sa.DateTime(), nullable=False, comment="When it was heard, UTC."),
        sa.Column(
            "recorded_at", sa.DateTime(), nullable=False, comment="created_at of the listen record."
        ),
        sa.Column(
            "nth",
            sa.SmallInteger(),
            nullable=False,
            comment="Which of several plays in its record, from 1.",
        ),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name=op.f("fk_listen_history_track_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_listen_history_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_listen_history")),
        sa.UniqueConstraint(
            "user_id", "recorded_at", "track_id", "nth", name="uq_listen_history_natural"
        ),
        comment="One row for each time a user heard a track.",
    )
    op.create_index(
        op.f("ix_listen_history_listened_at"), "listen_history", ["listened_at"], unique=False
    )
    op.create_index(
        op.f("ix_listen_history_track_id"), "listen_history", ["track_id"], unique=False
    )
    op.create_table(
        "track_genres",
        sa.Column("track_id", sa.BigInteger(), nullable=False, comment="The track."),
        sa.Column("genre_id", sa.BigInteger(), nullable=False, comment="Its genre."),
        sa.ForeignKeyConstraint(["genre_id"], ["genres.id"], name=op.f("fk_track_genres_genre_id")),
        sa.ForeignKeyConstraint(["track_id"], ["tracks.id"], name=op.f("fk_track_genres_track_id")),
        sa.PrimaryKeyConstraint("track_id", "genre_id", name=op.f("pk_track_genres")),
        comment="The genres of a track.",
    )
    op.create_index(op.f("ix_track_genres_genre_id"), "track_genres", ["genre_id"], unique=False)
    op.create_table(
        "user_favorite_genres",
        sa.Column("user_id", sa.BigInteger(), nullable=False, comment="The user."),
        sa.Column("genre_id", sa.BigInteger(), nullable=False, comment="A favourite."),
        sa.ForeignKeyConstraint(
            ["genre_id"], ["genres.id"], name=op.f("fk_user_favorite_genres_genre_id")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_user_favorite_genres_user_id")
        ),
        sa.PrimaryKeyConstraint("user_id", "genre_id", name=op.f("pk_user_favorite_genres")),
        comment="The genres a user has stated as favourites.",
    )
    op.create_index(
        op.f("ix_user_favorite_genres_genre_id"), "user_favorite_genres", ["genre_id"], unique=False
    )


def downgrade() -> None:
    op.drop_table("user_favorite_genres")
    op.drop_table("track_genres")
    op.drop_table("listen_history")
    op.drop_table("users")
    op.drop_table("tracks")
    op.drop_table("genres")
    op.drop_table("quarantine")
    op.drop_table("published_days")
    op.drop_table("blocked_days")
    op.drop_table("model_versions")
    op.drop_table("staged_tracks", schema="staging")
    op.drop_table("staged_users", schema="staging")
    op.drop_table("staged_listens", schema="staging")
    op.drop_table("verdicts", schema="staging")
