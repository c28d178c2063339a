"""How Alembic migrates: on the connection, and in the transaction, that it is given."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    # SQLite can, whatever Alembic supposes: a migration that is cut leaves nothing behind.
    transactional_ddl=True,
)
context.run_migrations()
