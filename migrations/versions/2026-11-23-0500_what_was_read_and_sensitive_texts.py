"""Which answers were read to their end; prompts and tasks that are marked sensitive."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.add_column("assignments", sa.Column("seen_to_end", sa.ARRAY(sa.SmallInteger()), nullable=True))
    for table in ("prompts", "tasks"):
        op.add_column(table, sa.Column("sensitive", sa.Boolean(), server_default="false", nullable=False))
    op.create_index(
        "ix_tasks_calm",
        "tasks",
        ["project_id", sa.text("priority desc"), "id"],
        postgresql_where=sa.text("state = 'open' and assignees is null and not sensitive"),
    )


def downgrade() -> None:
    """The older release shows every text to everybody, so that nothing sensitive may wait for people any more."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("update tasks set state = 'withdrawn' where state = 'open' and sensitive")
    op.drop_index("ix_tasks_calm", table_name="tasks")
    for table in ("tasks", "prompts"):
        op.drop_column(table, "sensitive")
    op.drop_column("assignments", "seen_to_end")
