"""A preference may be the best of several."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NAME = "ck_preferences_outcome"


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.drop_constraint(op.f(NAME), "preferences")
    op.create_check_constraint(op.f(NAME), "preferences", "outcome in ('prefer', 'best', 'tie', 'all_bad')")


def downgrade() -> None:
    """A choice among several becomes what the older schema knows: the chosen one over the others."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("update preferences set outcome = 'prefer' where outcome = 'best'")
    op.drop_constraint(op.f(NAME), "preferences")
    op.create_check_constraint(op.f(NAME), "preferences", "outcome in ('prefer', 'tie', 'all_bad')")
