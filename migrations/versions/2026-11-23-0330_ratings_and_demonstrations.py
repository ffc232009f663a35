"""Ratings of a whole task and of passages; every kind of feedback remembers the key it came with."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0002"
branch_labels = None
depends_on = None

AUTHORS = "uq_trajectories_prompt_id_model_id_content_hash"
AUTHORS_NOW = "uq_trajectories_prompt_id_model_id_user_id_source_content_hash"


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    for table in ("ratings", "demonstrations"):
        op.add_column(table, sa.Column("idempotency_key", sa.Uuid(), nullable=True))
        op.create_unique_constraint(op.f(f"uq_{table}_idempotency_key"), table, ["idempotency_key"])
    op.alter_column("ratings", "position", nullable=True)
    op.add_column("ratings", sa.Column("span_start", sa.Integer(), nullable=True))
    op.add_column("ratings", sa.Column("span_end", sa.Integer(), nullable=True))
    op.create_check_constraint(
        op.f("ck_ratings_span"), "ratings", "(span_start is null) = (span_end is null) and span_start < span_end"
    )
    op.add_column("demonstrations", sa.Column("field", sa.Text(), server_default="", nullable=False))
    op.drop_constraint(op.f(AUTHORS), "trajectories")
    op.create_unique_constraint(
        op.f(AUTHORS_NOW),
        "trajectories",
        ["prompt_id", "model_id", "user_id", "source", "content_hash"],
        postgresql_nulls_not_distinct=True,
    )


def downgrade() -> None:
    """The older schema has no place for ratings of whole tasks and of passages: they go, with what supersedes them."""
    op.execute("set local lock_timeout = '5s'")
    op.drop_constraint(op.f(AUTHORS_NOW), "trajectories")
    # Two people may have written the same words; the older schema knows one author for a text.
    op.execute(
        "update trajectories t set content_hash = content_hash || ':' || id where exists (select from trajectories o"
        " where o.prompt_id = t.prompt_id and o.model_id is not distinct from t.model_id"
        " and o.content_hash = t.content_hash and o.id < t.id)"
    )
    op.create_unique_constraint(
        op.f(AUTHORS), "trajectories", ["prompt_id", "model_id", "content_hash"], postgresql_nulls_not_distinct=True
    )
    op.drop_column("demonstrations", "field")
    op.execute("delete from ratings where position is null or span_start is not null")
    op.drop_constraint(op.f("ck_ratings_span"), "ratings")
    op.drop_column("ratings", "span_end")
    op.drop_column("ratings", "span_start")
    op.alter_column("ratings", "position", nullable=False)
    for table in ("ratings", "demonstrations"):
        op.drop_constraint(op.f(f"uq_{table}_idempotency_key"), table)
        op.drop_column(table, "idempotency_key")
