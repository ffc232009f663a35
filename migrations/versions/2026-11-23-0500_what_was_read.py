"""Which answers were read to their end."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.add_column("assignments", sa.Column("seen_to_end", sa.ARRAY(sa.SmallInteger()), nullable=True))


def downgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.drop_column("assignments", "seen_to_end")
