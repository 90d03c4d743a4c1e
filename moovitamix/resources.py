"""The outside world as Dagster resources: source, lake, warehouse, cache.

A resource knows an address and how to open it. What is read or written through it is the
business of the stages.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
import polars as pl
from pydantic import Field

from moovitamix.errors import StoreUnavailable
from moovitamix.settings import get_settings

if TYPE_CHECKING:
    import psycopg
    import redis

    from moovitamix.ingest.lake import LakeStore


class Lake(dg.ConfigurableResource[Any]):
    """The files: raw pulls, matrices, model artifacts."""

    url: str | None = Field(
        default=None, description="Unset: MOOVITAMIX_LAKE_URL, else a folder under the home."
    )

    def open(self) -> LakeStore:
        """The lake as a store of named files."""
        from moovitamix.ingest.lake import LakeStore

        return LakeStore(self.url or get_settings().lake)


class Source(dg.ConfigurableResource[Any]):
    """The music app's REST API."""

    url: str | None = Field(
        default=None, description="Unset: MOOVITAMIX_SOURCE_URL, else the demonstration source."
    )

    def address(self) -> str:
        """The URL to pull from; starts the demonstration source when none is configured."""
        configured = self.url or get_settings().source_url
        if configured:
            return configured.rstrip("/")
        from moovitamix.embedded import services

        return services.ensure_demo_source()


class Held:
    """A named lock of Postgres, as who holds it sees it: a lost session has let go of it.

    Args:
        name: Of the lock.
        connection: The one by which it is held.
    """

    def __init__(self, name: str, connection: psycopg.Connection) -> None:
        self._name = name
        self._connection = connection

    def confirm(self) -> None:
        """Make sure that it is still held: to be asked before what must not be done twice.

        Raises:
            StoreUnavailable: When it is not, for Postgres has ended the session.
        """
        import psycopg

        try:
            self._connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            raise StoreUnavailable(
                f"Postgres has ended the session that held the lock `{self._name}`: somebody else "
                "may hold it by now, so nothing more is changed. Do it again when Postgres is back."
            ) from error


class Warehouse(dg.ConfigurableResource[Any]):
    """Postgres: the tables, their staging area and the model registry."""

    url: str | None = Field(
        default=None, description="Unset: MOOVITAMIX_DATABASE_URL, else the embedded Postgres."
    )
    namespace: str | None = Field(default=None, description="Unset: MOOVITAMIX_NAMESPACE.")

    @property
    def schema_name(self) -> str:
        """The schema of the tables; the staging area is the one with `_staging` behind it."""
        return self.namespace or get_settings().namespace

    def address(self) -> str:
        """The libpq URL; starts the embedded Postgres when none is configured."""
        if self.url:
            return self.url
        configured = get_settings().database_url
        if configured:
            return configured.get_secret_value()
        from moovitamix.embedded import services

        return services.ensure_postgres()

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """One transaction on the current schema of the tables.

        Commits when the block ends, rolls back when it raises. Unqualified names are found in
        the tables' schema first, then in the staging area's.

        Raises:
            StoreUnavailable: When Postgres does not answer.
        """
        import psycopg

        from moovitamix.warehouse import migrate
        from moovitamix.warehouse.redacted import redacted

        address = self.address()
        try:
            connection = psycopg.connect(address, connect_timeout=10)
        except psycopg.OperationalError as error:
            raise StoreUnavailable(
                f"Postgres does not answer: {' '.join(str(error).split())}. "
                "Start it or correct MOOVITAMIX_DATABASE_URL; `moovitamix doctor` tests it."
            ) from error
        with redacted(), connection:
            migrate.ensure_current(address, self.schema_name)
            connection.execute(
                f'SET search_path = "{self.schema_name}", "{self.schema_name}_staging"'
            )
            connection.execute("SET TIME ZONE 'UTC'")
            yield connection

    @contextmanager
    def lock(
        self, name: str, *, shared: bool = False, on_wait: Callable[[], None] = lambda: None
    ) -> Iterator[Held]:
        """Hold a named lock of this namespace; wait for whoever holds it.

        It is an advisory lock of Postgres: it works across machines, and a holder that is
        killed, or whose session is lost, lets go of it (`Held.confirm`). There are three, and who
        needs several takes them in this order, each once: `run` (a command `run`), `pull` (who
        reads the source), `people` (see `hold_erasures`).

        Args:
            name: What is being done.
            shared: Hold it together with others who share it; wait only for who does not.
            on_wait: Called once when somebody else holds the lock.
        """
        with self.connect() as connection:
            connection.commit()
            connection.autocommit = True
            key = (f"{self.schema_name}:{name}",)
            kind = "_shared" if shared else ""
            taken = f"SELECT pg_try_advisory_lock{kind}(hashtextextended(%s, 0))"
            if connection.execute(taken, key).fetchone() != (True,):
                on_wait()
                connection.execute(f"SELECT pg_advisory_lock{kind}(hashtextextended(%s, 0))", key)
            yield Held(name, connection)

    def hold_erasures(self) -> AbstractContextManager[Held]:
        """Keep erasures waiting: for as long as something of users is between two stores.

        Whoever reads ids or values of users from the lake, a table or the cache and writes them
        elsewhere, other than within one transaction, holds this from the reading to the writing:
        then nothing that was read before an erasure can be written after it. Not to be nested:
        an erasure that waits for the outer holder would keep the inner one waiting.
        """
        return self.lock("people", shared=True)

    @contextmanager
    def hold_erasures_over(self, connection: psycopg.Connection) -> Iterator[None]:
        """The same by a connection that is open anyway: for who does it many times a second.

        Args:
            connection: In autocommit mode; when it ends, so does the lock.
        """
        key = (f"{self.schema_name}:people",)
        connection.execute("SELECT pg_advisory_lock_shared(hashtextextended(%s, 0))", key)
        try:
            yield
        finally:
            if not connection.broken:
                connection.execute("SELECT pg_advisory_unlock_shared(hashtextextended(%s, 0))", key)

    def read(
        self,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        schema: Mapping[str, pl.DataType | type[pl.DataType]],
    ) -> pl.DataFrame:
        """The rows of a query as a frame, carried over by COPY.

        Args:
            query: A SELECT with `%(name)s` placeholders, without a closing semicolon.
            parameters: The values of the placeholders.
            schema: Column names and types of the frame, in the order of the query.
        """
        with self.connect() as connection:
            return copy_out(connection, query, parameters, schema=schema)


def copy_out(
    connection: psycopg.Connection,
    query: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    schema: Mapping[str, pl.DataType | type[pl.DataType]],
) -> pl.DataFrame:
    """The rows of a query, inside the caller's transaction, as a frame. See `Warehouse.read`."""
    buffer = io.BytesIO()
    with copy_to_here(connection, query, parameters, form="csv") as copy:
        for block in copy:  # each is a row, or some
            buffer.write(block)
    if not buffer.tell():
        return pl.DataFrame(schema=dict(schema))
    buffer.seek(0)
    return pl.read_csv(buffer, has_header=False, schema=dict(schema))


def copy_to_here(
    connection: psycopg.Connection,
    query: str,
    parameters: Mapping[str, Any] | None,
    *,
    form: Literal["csv", "binary"],
) -> AbstractContextManager[psycopg.Copy]:
    """The rows of a query as PostgreSQL's COPY sends them."""
    from psycopg import sql

    bound = psycopg_client_cursor(connection).mogrify(query, parameters)
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT {})").format(sql.SQL(bound), sql.SQL(form))
    return connection.cursor().copy(statement)


def psycopg_client_cursor(connection: psycopg.Connection) -> Any:
    """A cursor that binds parameters on this side, for statements that take none (COPY)."""
    import psycopg

    return psycopg.ClientCursor(connection)


class Cache(dg.ConfigurableResource[Any]):
    """Redis or Valkey: the generations of top-N lists."""

    url: str | None = Field(
        default=None, description="Unset: MOOVITAMIX_REDIS_URL, else the embedded Valkey."
    )
    namespace: str | None = Field(default=None, description="Unset: MOOVITAMIX_NAMESPACE.")

    @property
    def prefix(self) -> str:
        """What every key begins with, without the colon."""
        return self.namespace or get_settings().namespace

    def address(self) -> str:
        """The redis URL; starts the embedded Valkey when none is configured."""
        if self.url:
            return self.url
        configured = get_settings().redis_url
        if configured:
            return configured.get_secret_value()
        from moovitamix.embedded import services

        return services.ensure_valkey()

    @contextmanager
    def connect(self) -> Iterator[redis.Redis]:
        """A client that answers bytes, closed at the end of the block; of a cluster too.

        Raises:
            StoreUnavailable: When Redis does not answer.
        """
        from moovitamix.serve.connection import open_redis

        client = open_redis(self.address())
        try:
            yield client
        finally:
            client.close()


def default_resources() -> dict[str, Any]:
    """The resources of a deployment, each to be configured by the environment."""
    return {"source": Source(), "lake": Lake(), "warehouse": Warehouse(), "cache": Cache()}
