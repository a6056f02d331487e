"""Alembic's entry: runs the migrations on the connection that `ledger.database` hands over."""

from alembic import context

from ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
