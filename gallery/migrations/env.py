"""Run by Alembic to reach a database: takes the connection that `migrate` was given."""

from alembic import context

# The caller's transaction holds every step, also on SQLite, which Alembic would not assume.
context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
