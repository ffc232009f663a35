"""A task that was imported keeps its id and metadata."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NAME = "ix_tasks_external_id"


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.add_column("tasks", sa.Column("external_id", sa.Text()))
    op.add_column("tasks", sa.Column("extra", postgresql.JSONB()))
    given = sa.text("external_id is not null")
    op.create_index(NAME, "tasks", ["project_id", "external_id"], unique=True, postgresql_where=given)


def downgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.drop_index(NAME, "tasks")
    op.drop_column("tasks", "extra")
    op.drop_column("tasks", "external_id")
