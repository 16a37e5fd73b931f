"""The index from which rows were counted goes: columns in memory count them, and long names of tasks did not fit it."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COUNTED = "state, newest, kind, model, family, hardware, engine, precision, concurrency"


def upgrade() -> None:
    """Drop it."""
    op.execute("DROP INDEX IF EXISTS submissions_counted")


def downgrade() -> None:
    """Make it as it was."""
    op.execute(f"CREATE INDEX submissions_counted ON submissions ({COUNTED})")
