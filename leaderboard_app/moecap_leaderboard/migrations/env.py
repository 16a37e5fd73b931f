"""What Alembic runs: the migrations inside the transaction of the connection that it is given."""

from alembic import context

from moecap_leaderboard.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, transactional_ddl=True
)
context.run_migrations()
