"""Gold and repeated tasks, tasks for named people, screening and daily caps."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.add_column("tasks", sa.Column("assignees", sa.ARRAY(sa.BigInteger()), nullable=True))
    op.add_column("tasks", sa.Column("gold_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("tasks", sa.Column("gold_by", sa.BigInteger(), nullable=True))
    op.add_column("tasks", sa.Column("repeat_of", sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f("fk_tasks_gold_by_users"), "tasks", "users", ["gold_by"], ["id"])
    op.create_foreign_key(op.f("fk_tasks_repeat_of_tasks"), "tasks", "tasks", ["repeat_of"], ["id"])
    # A JSON null is no right answer, and an open gold task would be handed out as an ordinary one.
    op.execute("update tasks set gold = null where gold = 'null'")
    op.execute("update tasks set state = 'done' where gold is not null and state = 'open'")
    op.create_check_constraint(op.f("ck_tasks_gold_closed"), "tasks", "gold is null or state <> 'open'")
    op.create_index(
        "ix_tasks_anyone",
        "tasks",
        ["project_id", sa.text("priority desc"), "id"],
        postgresql_where=sa.text("state = 'open' and assignees is null"),
    )
    op.create_index(
        "ix_tasks_named",
        "tasks",
        ["assignees"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
        postgresql_where=sa.text("state = 'open' and assignees is not null"),
    )
    op.create_index("ix_tasks_gold", "tasks", ["project_id"], postgresql_where=sa.text("gold is not null"))
    op.create_index("ix_tasks_repeat_of", "tasks", ["repeat_of"], postgresql_where=sa.text("repeat_of is not null"))
    op.add_column("memberships", sa.Column("daily_cap", sa.Integer(), nullable=True))
    op.add_column("memberships", sa.Column("screening", sa.Text(), nullable=True))
    op.create_check_constraint(op.f("ck_memberships_daily_cap"), "memberships", "daily_cap >= 0")
    op.create_check_constraint(
        op.f("ck_memberships_screening"), "memberships", "screening in ('passed', 'failed', 'admitted')"
    )


def downgrade() -> None:
    """Answers to repeats stay, as answers to tasks of their own; nothing tells them from others any more."""
    op.execute("set local lock_timeout = '5s'")
    op.drop_constraint(op.f("ck_memberships_screening"), "memberships")
    op.drop_constraint(op.f("ck_memberships_daily_cap"), "memberships")
    op.drop_column("memberships", "screening")
    op.drop_column("memberships", "daily_cap")
    op.execute("update tasks set state = 'withdrawn' where state = 'open' and assignees is not null")
    for name in ("ix_tasks_repeat_of", "ix_tasks_gold", "ix_tasks_named", "ix_tasks_anyone"):
        op.drop_index(name, table_name="tasks")
    op.drop_constraint(op.f("ck_tasks_gold_closed"), "tasks")
    op.drop_constraint(op.f("fk_tasks_repeat_of_tasks"), "tasks")
    op.drop_constraint(op.f("fk_tasks_gold_by_users"), "tasks")
    for column in ("repeat_of", "gold_by", "gold_at", "assignees"):
        op.drop_column("tasks", column)
