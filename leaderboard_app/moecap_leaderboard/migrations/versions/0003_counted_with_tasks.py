"""The index from which rows are counted holds all that is counted, in the order of the groups."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAME, TABLE = "submissions_counted", "submissions"
BEFORE = ("state", "newest", "kind", "model", "family", "hardware", "engine", "precision", "concurrency")
AFTER = ("state", "newest", "kind", "family", "model", "hardware", "engine", "precision", "tasks", "concurrency")


def upgrade() -> None:
    """Put the tasks in, without which each row was looked up."""
    op.drop_index(NAME, TABLE)
    op.create_index(NAME, TABLE, list(AFTER))


def downgrade() -> None:
    """Make the index of before."""
    op.drop_index(NAME, TABLE)
    op.create_index(NAME, TABLE, list(BEFORE))
