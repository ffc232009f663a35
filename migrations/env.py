"""Runs migrations on the connection that app.core.schema hands over. Sets up no logging and reads no file."""

from alembic import context

from app.core.records import Record

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Record.metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
