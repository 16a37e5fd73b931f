"""The first tables; what was sent, what was found and what happened cannot be changed or deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("audit", "documents", "sent_files", "figures")


def upgrade() -> None:
    """Make the tables of version 0001."""
    tables()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'rows of % are never changed or deleted', TG_TABLE_NAME; END $$"
        )
    for table in APPEND_ONLY:
        for change in ("UPDATE", "DELETE"):
            head = f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table}"
            if op.get_bind().dialect.name == "postgresql":
                op.execute(f"{head} FOR EACH ROW EXECUTE FUNCTION refuse_change()")
            else:
                op.execute(f"{head} BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed or deleted'); END")


def tables() -> None:
    """Tables and indexes."""
    op.create_table(
        "keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=39), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.String(length=64), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.Column("revoked_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("owner", sa.String(length=39), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=100), nullable=True),
        sa.Column("worker_owner", sa.String(length=39), nullable=True),
        sa.Column("lease_sha256", sa.String(length=64), nullable=True),
        sa.Column("lease_expires_us", sa.BigInteger(), nullable=True),
        sa.Column("submission", sa.String(length=32), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("requests_list", "requests", ["state", "created_us", "id"], unique=False)
    op.create_table(
        "signing_keys",
        sa.Column("public_key", sa.String(length=43), nullable=False),
        sa.Column("owner", sa.String(length=39), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("revoked_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("public_key"),
    )
    op.create_index("ix_signing_keys_owner", "signing_keys", ["owner"], unique=False)
    op.create_table(
        "submissions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("result", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=39), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("published_us", sa.BigInteger(), nullable=True),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("hardware", sa.String(length=100), nullable=False),
        sa.Column("devices", sa.Integer(), nullable=False),
        sa.Column("engine", sa.String(length=100), nullable=False),
        sa.Column("precision", sa.String(length=100), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=True),
        sa.Column("input_len", sa.Integer(), nullable=True),
        sa.Column("output_len", sa.Integer(), nullable=True),
        sa.Column("configuration", sa.String(length=16), nullable=False),
        sa.Column("names", sa.Text(), nullable=False),
        sa.Column("signed", sa.Boolean(), nullable=False),
        sa.Column("recomputed", sa.Boolean(), nullable=False),
        sa.Column("reproduces", sa.String(length=64), nullable=True),
        sa.Column("reproduces_within", sa.Boolean(), nullable=False),
        sa.Column("reproduced_by", sa.Integer(), nullable=False),
        sa.Column("ranked", sa.Boolean(), nullable=False),
        sa.Column("newest", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("summary", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("content_sha256"),
    )
    op.create_index("submissions_created", "submissions", ["created_us", "id"], unique=False)
    op.create_index(
        "submissions_hardware",
        "submissions",
        ["hardware", "kind", "state", "newest", "published_us", "id"],
        unique=False,
    )
    op.create_index("submissions_list", "submissions", ["kind", "state", "newest", "published_us", "id"], unique=False)
    op.create_index(
        "submissions_model", "submissions", ["model", "kind", "state", "newest", "published_us", "id"], unique=False
    )
    op.create_index(
        "submissions_one_live_result",
        "submissions",
        ["result"],
        unique=True,
        sqlite_where=sa.text("state IN ('pending', 'published')"),
        postgresql_where=sa.text("state IN ('pending', 'published')"),
    )
    op.create_index(
        "submissions_reproduces",
        "submissions",
        ["reproduces", "state"],
        unique=False,
        sqlite_where=sa.text("reproduces IS NOT NULL"),
        postgresql_where=sa.text("reproduces IS NOT NULL"),
    )
    op.create_index("submissions_result", "submissions", ["result", "state"], unique=False)
    op.create_index("submissions_state", "submissions", ["state", "published_us", "id"], unique=False)
    op.create_index("submissions_versions", "submissions", ["configuration", "owner", "published_us"], unique=False)
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("submission", sa.String(length=32), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=39), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["submission"],
            ["submissions.id"],
        ),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index("ix_audit_submission", "audit", ["submission"], unique=False)
    op.create_table(
        "documents",
        sa.Column("submission", sa.String(length=32), nullable=False),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("recomputed", sa.JSON(), nullable=False),
        sa.Column("withheld", sa.JSON(), nullable=False),
        sa.Column("not_recomputed", sa.JSON(), nullable=False),
        sa.Column("record", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["submission"],
            ["submissions.id"],
        ),
        sa.PrimaryKeyConstraint("submission"),
    )
    op.create_table(
        "figures",
        sa.Column("submission", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["submission"],
            ["submissions.id"],
        ),
        sa.PrimaryKeyConstraint("submission", "name"),
    )
    op.create_index("figures_sorted", "figures", ["name", "value", "submission"], unique=False)
    op.create_table(
        "sent_files",
        sa.Column("submission", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["submission"],
            ["submissions.id"],
        ),
        sa.PrimaryKeyConstraint("submission", "name"),
    )
