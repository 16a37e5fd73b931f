"""The index of counts goes where it had the tasks, too, as a 0003 of some days' development made it."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop it where it is."""
    op.execute("DROP INDEX IF EXISTS submissions_counted")


def downgrade() -> None:
    """Nothing is to be made: 0003 has none."""
