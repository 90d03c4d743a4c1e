"""What `doctor` finds, on real servers and where there are none; what `config` may show."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import redis
from fastapi import FastAPI, HTTPException, Request
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr
from rich.console import Console

from moovitamix.doctor import _shown, examine
from moovitamix.settings import get_settings
from moovitamix_tests.observe.logs.receiver import Receiver
from moovitamix_tests.reference_source import ReferenceSource, serve_app


def examined(monkeypatch: pytest.MonkeyPatch, **settings: str) -> tuple[bool, dict[str, str]]:
    """Whether all is well, and what was said by subject, with its mark."""
    for name, value in settings.items():
        monkeypatch.setenv(f"MOOVITAMIX_{name.upper()}", value)
    get_settings.cache_clear()
    told = io.StringIO()
    well = examine(Console(file=told, width=400))
    lines = [line.split(maxsplit=2) for line in told.getvalue().splitlines()]
    return well, {subject: f"{mark} {said}".strip() for mark, subject, said in lines}


def test_without_settings_all_is_well_and_nothing_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    well, told = examined(monkeypatch)

    assert well
    assert list(told) == ["Python", "home", "Postgres", "Redis", "lake", "source", "alerts"]
    assert told["Postgres"] == told["Redis"] == "✓ embedded, not running; started when needed"
    assert told["source"] == "✓ demonstration, not running; started when needed"
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_servers_of_ones_own_are_named_with_their_versions(
    monkeypatch: pytest.MonkeyPatch,
    postgres_url: str,
    valkey_url: str,
    valkey: redis.Redis,
    source: ReferenceSource,
) -> None:
    with Receiver() as graylog:
        well, told = examined(
            monkeypatch,
            database_url=postgres_url,
            redis_url=valkey_url,
            source_url=source.url,
            gelf_url=graylog.url,
        )

    assert well, told
    assert told["logs"] == f"✓ to {graylog.url}"
    assert told["Postgres"].startswith("✓ yours, version ")
    assert told["Redis"] == f"✓ yours, speaks Redis {valkey.info('server')['redis_version']}"
    assert told["source"] == f"✓ {source.url} speaks the contract, 40 tracks"


def test_a_database_is_looked_at_and_not_changed(
    monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    examined(monkeypatch, database_url=postgres_url, namespace="untouched")

    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'untouched'")
        assert found.fetchone() is None


@pytest.fixture
def nobody() -> str:
    """The host and port of a place where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{bound.getsockname()[1]}"


def test_every_server_that_does_not_answer_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, nobody: str
) -> None:
    well, told = examined(
        monkeypatch,
        database_url=f"postgresql://mix:sesame@{nobody}/mix",
        redis_url=f"redis://:sesame@{nobody}",
        source_url=f"http://{nobody}",
        gelf_url=f"gelf+tcp://{nobody}",
    )

    assert not well
    for subject, variable in (
        ("Postgres", "MOOVITAMIX_DATABASE_URL"),
        ("Redis", "MOOVITAMIX_REDIS_URL"),
        ("source", "MOOVITAMIX_SOURCE_URL"),
        ("logs", "MOOVITAMIX_GELF_URL"),
    ):
        assert told[subject].startswith("✗")
        assert variable in told[subject]
    assert told["lake"].startswith("✓")
    assert "sesame" not in str(told)


def test_a_lake_of_an_unknown_kind_is_a_fault_with_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    well, told = examined(monkeypatch, lake_url="pond://fish")

    assert not well
    assert told["lake"].startswith("✗ The lake cannot be opened: Protocol not known: pond")
    assert told["lake"].endswith("MOOVITAMIX_LAKE_URL.")


def test_a_lake_that_cannot_be_written_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")

    well, told = examined(monkeypatch, lake_url=f"file://{tmp_path}/file/lake")

    assert not well
    assert told["lake"].startswith("✗")


@contextmanager
def guarded_source(token: str, answer: object) -> Iterator[str]:
    """A server that wants a token, and gives an answer of its own."""
    app = FastAPI()

    @app.get("/tracks")
    async def tracks(request: Request) -> object:
        if request.headers.get("Authorization") != f"Bearer {token}":
            raise HTTPException(401)
        return answer

    with serve_app(app) as url:
        yield url


EMPTY_PAGE = {"items": [], "total": 0, "page": 1, "size": 1, "pages": 0}


def test_the_token_is_sent_to_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    with guarded_source("sesame", EMPTY_PAGE) as url:
        well, told = examined(monkeypatch, source_url=url, source_token="sesame")

    assert well, told
    assert told["source"] == f"✓ {url} speaks the contract, 0 tracks"


def test_a_source_that_refuses_wants_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with guarded_source("sesame", EMPTY_PAGE) as url:
        well, told = examined(monkeypatch, source_url=url)

    assert not well
    assert told["source"].endswith("Set MOOVITAMIX_SOURCE_TOKEN to a token it accepts.")


def test_a_server_that_is_no_source_is_told_from_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with guarded_source("sesame", {"hello": "world"}) as url:
        well, told = examined(monkeypatch, source_url=url, source_token="sesame")

    assert not well
    assert told["source"].startswith("✗")
    assert url in told["source"]


def test_the_place_for_a_home_must_be_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")

    well, told = examined(monkeypatch, home=str(tmp_path / "file" / "home"))

    assert not well
    assert told["home"].startswith("✗")
    assert "MOOVITAMIX_HOME" in told["home"]


@given(password=st.text(min_size=4, max_size=20))
@example(password="a@b:c/d?e#f")
@example(password="post")
def test_whatever_the_password_is_it_is_not_shown(password: str) -> None:
    url = f"postgresql://mix:«{password}»@db.example:5432/music?sslmode=require"

    assert f"«{password}»" not in _shown(SecretStr(url))
    assert "«" not in _shown(SecretStr(url))


def test_a_mirror_that_does_not_answer_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{closed_port()}")
    well, told = examined(monkeypatch)

    assert not well
    assert "does not answer" in told["MLflow"]
    assert "models mirror" in told["MLflow"]
    assert "secret" not in told["MLflow"]


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
