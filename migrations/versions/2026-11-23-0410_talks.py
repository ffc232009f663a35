"""A task may be a turn of a talk."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.add_column("tasks", sa.Column("parent_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f("fk_tasks_parent_id_tasks"), "tasks", "tasks", ["parent_id"], ["id"])
    op.create_index("ix_tasks_parent_id", "tasks", ["parent_id"], postgresql_where=sa.text("parent_id is not null"))
    op.create_check_constraint(
        op.f("ck_tasks_turn"), "tasks", "parent_id is null or state <> 'open' and answers_needed = 0"
    )


def downgrade() -> None:
    """Turns stay as tasks that are done or withdrawn: the older schema hands those out to nobody."""
    op.execute("set local lock_timeout = '5s'")
    op.drop_constraint(op.f("ck_tasks_turn"), "tasks")
    op.drop_index("ix_tasks_parent_id", table_name="tasks")
    op.drop_constraint(op.f("fk_tasks_parent_id_tasks"), "tasks")
    op.drop_column("tasks", "parent_id")
