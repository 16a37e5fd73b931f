"""Columns of the model's family and of the tasks that ran, and an index from which rows are counted."""

import json

import sqlalchemy as sa
from alembic import op

from moecap_leaderboard.families import family_of
from moecap_leaderboard.rows import tasks_text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COUNTED = ("state", "newest", "kind", "model", "family", "hardware", "engine", "precision", "concurrency")
PART = 1000


def upgrade() -> None:
    """Add the columns, fill them from what each row holds, and index them."""
    op.add_column("submissions", sa.Column("family", sa.String(length=60), nullable=False, server_default=""))
    op.add_column("submissions", sa.Column("tasks", sa.Text(), nullable=False, server_default=""))
    connection = op.get_bind()
    some = sa.text("SELECT id, model, summary FROM submissions WHERE id > :last ORDER BY id LIMIT :part")
    last = ""
    while rows := connection.execute(some, {"last": last, "part": PART}).all():
        filled = [
            {"id": identifier, "family": family_of(model), "tasks": tasks_text(_tasks(summary))}
            for identifier, model, summary in rows
        ]
        connection.execute(sa.text("UPDATE submissions SET family = :family, tasks = :tasks WHERE id = :id"), filled)
        last = rows[-1][0]
    op.create_index("submissions_counted", "submissions", list(COUNTED))


def downgrade() -> None:
    """Take the columns away; what was in them follows from each row."""
    op.drop_index("submissions_counted", "submissions")
    for column in ("tasks", "family"):
        op.drop_column("submissions", column)


def _tasks(summary: object) -> list[str]:
    content = json.loads(summary) if isinstance(summary, str) else summary  # Postgres gives it as it is
    workload = content.get("workload", {}) if isinstance(content, dict) else {}
    return list(workload.get("tasks", ()))
