"""How Alembic migrates: on the connection, and in the transaction, that it is given."""

from alembic import context

from garments.store.indexes import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can, whatever Alembic supposes: a migration that is cut leaves nothing behind.
    transactional_ddl=True,
)
context.run_migrations()
