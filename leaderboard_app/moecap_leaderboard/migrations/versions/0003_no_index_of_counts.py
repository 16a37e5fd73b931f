"""The index from which rows were counted goes: columns in memory count them, and long names of tasks did not fit it."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAME, TABLE = "submissions_counted", "submissions"
COUNTED = ("state", "newest", "kind", "model", "family", "hardware", "engine", "precision", "concurrency")


def upgrade() -> None:
    """Drop it."""
    op.drop_index(NAME, TABLE)


def downgrade() -> None:
    """Make it as it was."""
    op.create_index(NAME, TABLE, list(COUNTED))
