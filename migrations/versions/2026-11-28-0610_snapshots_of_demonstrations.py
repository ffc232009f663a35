"""Snapshots freeze demonstrations beside preferences."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    column = sa.Column("demonstration_ids", sa.ARRAY(sa.BigInteger()), server_default="{}", nullable=False)
    op.add_column("snapshots", column)


def downgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.drop_column("snapshots", "demonstration_ids")
