"""Alembic's entry: runs migrations on the connection and into the schemas it is handed."""

from alembic import context

from moovitamix.warehouse.migrate import VERSION_TABLE
from moovitamix.warehouse.tables import metadata

connection = context.config.attributes["connection"]
schema = context.config.attributes["schema"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    version_table_schema=schema,
    transactional_ddl=True,
)
context.run_migrations()
