"""Alembic's entry: the steps run on the connection that the caller holds, in its transaction."""

from alembic import context

from serving.ledger.database import VERSION_TABLE
from serving.ledger.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    compare_type=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
