"""The settings in force, and whether what they name works: `config` and `doctor`."""

from __future__ import annotations

import http.client
import importlib.util
import os
import re
import shutil
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from pydantic import SecretStr
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from moovitamix.durations import write_duration
from moovitamix.embedded import services
from moovitamix.errors import (
    MoovitaMixError,
    SettingsError,
    SourceUnavailable,
    StoreUnavailable,
)
from moovitamix.settings import Settings, get_settings

if TYPE_CHECKING:
    from moovitamix.observe.channels import Channel

OLDEST_POSTGRES = 140000
OLDEST_REDIS = (6, 2)
LEAST_FREE_BYTES = 1 << 30

# Settings whose addresses are shown by their scheme and a hash: all of such a URL may be secret.
_CHANNELS = ("alert_urls", "report_urls")


def print_settings(console: Console) -> None:
    """Every setting with its value in force, and what it is for."""
    settings = get_settings()
    table = Table("variable", "value", "meaning", box=box.SIMPLE_HEAD)
    for name, declared in Settings.model_fields.items():
        variable = Settings.variable(name)
        value = _shown(getattr(settings, name))
        if name in _CHANNELS and getattr(settings, name) is not None:
            value = ", ".join(channel.name for channel in _channels(settings, name))
        origin = "" if os.environ.get(variable) else "[dim] (default)[/]"
        table.add_row(variable, f"{escape(value)}{origin}", escape(declared.description or ""))
    console.print(table)


def _shown(value: object) -> str:
    """A value without its secrets: of a secret URL, all but password and query."""
    if value is None:
        return "-"
    if isinstance(value, timedelta):
        return write_duration(value)
    if not isinstance(value, SecretStr):
        return _masked(str(value)) if "@" in str(value) else str(value)
    return _masked(value.get_secret_value())


def _masked(url: str) -> str:
    """What of a URL may be shown; nothing where its password is not told apart for certain."""
    scheme, found, rest = url.partition("://")
    address = re.split(r"[?#]", rest)[0]
    if not found or ("@" in rest) != ("@" in address):
        return "••••"
    credentials, at, place = address.rpartition("@")
    name, colon, _ = credentials.partition(":")
    return f"{scheme}://{name}{':••••' if colon else ''}{at}{place}"


def examine(console: Console) -> bool:
    """Run every examination and print how it went; whether all is well.

    What works, but may fail later, is a warning: all is still well.
    """
    settings = get_settings()
    examinations: list[tuple[str, Callable[[Settings], str]]] = [
        ("Python", _python),
        ("home", _home),
        ("Postgres", _postgres),
        ("Redis", _redis),
        ("lake", _lake),
        ("source", _source),
    ]
    if settings.mlflow_tracking_uri is not None:
        examinations.append(("MLflow", _mlflow))
    examinations.append(("alerts", _alerts))
    if settings.gelf_url is not None:
        examinations.append(("logs", _logs))
    if settings.report_urls is not None:
        examinations.append(("report", _report))
    well = True
    for name, examination in examinations:
        try:
            console.print(f"  [green]✓[/] {name:<10} {escape(examination(settings))}")
            for concern in _redis_memory(settings) if name == "Redis" else ():
                console.print(f"  [yellow]![/] {name:<10} {escape(concern)}")
        except (MoovitaMixError, OSError) as error:
            well = False
            console.print(f"  [red]✗[/] {name:<10} {escape(str(error))}")
    return well


def _python(_: Settings) -> str:
    return sys.version.split()[0]


def _home(settings: Settings) -> str:
    existing = settings.home_path
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise MoovitaMixError(
            f"{existing} is no folder that can be written: set MOOVITAMIX_HOME elsewhere."
        )
    free = shutil.disk_usage(existing).free
    if free < LEAST_FREE_BYTES:
        raise MoovitaMixError(f"Only {free >> 20} MiB are free on {existing}: make room.")
    return f"{settings.home_path}, {free >> 30} GiB free"


def _postgres(settings: Settings) -> str:
    if settings.database_url is None and not services.running()["postgres"]:
        return "embedded, not running; started when needed"
    import psycopg

    from moovitamix.resources import Warehouse

    try:  # not by the warehouse's own connection, which would make its tables
        with psycopg.connect(Warehouse().address(), connect_timeout=10) as connection:
            version = connection.info.server_version
    except psycopg.Error as error:
        raise StoreUnavailable(
            f"Postgres does not answer: {' '.join(str(error).split())}. "
            "Start it or correct MOOVITAMIX_DATABASE_URL."
        ) from error
    if version < OLDEST_POSTGRES:
        raise MoovitaMixError(f"It is version {version // 10_000}; 14 or newer is needed.")
    kind = "yours" if settings.database_url else "embedded"
    return f"{kind}, version {version // 10_000}.{version % 10_000}"


def _redis(settings: Settings) -> str:
    if settings.redis_url is None and not services.running()["valkey"]:
        return "embedded, not running; started when needed"
    from moovitamix.resources import Cache

    with Cache().connect() as client:
        version = str(client.info("server")["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        raise MoovitaMixError(f"It is version {version}; 6.2 or newer is needed.")
    return f"{'yours' if settings.redis_url else 'embedded'}, speaks Redis {version}"


def _redis_memory(settings: Settings) -> list[str]:
    """What may go wrong with the memory of a Redis that answers."""
    if settings.redis_url is None and not services.running()["valkey"]:
        return []
    import redis

    from moovitamix.resources import Cache
    from moovitamix.serve.arms import read_experiment
    from moovitamix.serve.memory import (
        EXPERIMENT_GENERATIONS,
        GENERATIONS,
        memory_concerns,
        read_memory,
    )

    cache = Cache()
    with cache.connect() as client:
        if isinstance(cast("object", client), redis.RedisCluster):
            return ["It is a cluster: its memory was NOT CHECKED. Look at each of its nodes."]
        try:
            tried = read_experiment(client, cache.prefix) is not None
            return memory_concerns(
                read_memory(client, cache.prefix),
                generations=EXPERIMENT_GENERATIONS if tried else GENERATIONS,
            )
        except StoreUnavailable as error:
            return [f"Its memory was NOT CHECKED: {error}"]


def _lake(settings: Settings) -> str:
    from moovitamix.ingest.lake import LakeStore

    store = LakeStore(settings.lake)
    probe = f".doctor-{uuid.uuid4().hex}"
    store.write_bytes(probe, b"written and read back")
    store.read_bytes(probe)
    store.remove(probe)
    return f"{settings.lake}, can be written"


def _source(settings: Settings) -> str:
    if settings.source_url is None:
        running = services.running()["demo source"]
        return f"demonstration, {'running' if running else 'not running; started when needed'}"
    # Whatever scheme the settings name is asked: they are the operator's own.
    request = urllib.request.Request(f"{settings.source_url.rstrip('/')}/tracks?page=1&size=1")  # noqa: S310 - see above
    from moovitamix.ingest.client import token_headers
    from moovitamix.ingest.contract import TRACKS
    from moovitamix.ingest.decode import decode_page

    token = settings.source_token.get_secret_value() if settings.source_token else None
    for header, value in token_headers(token, settings.source_token_header).items():
        request.add_header(header, value)

    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - by the settings
            body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        refused = isinstance(error, urllib.error.HTTPError) and error.code in {401, 403}
        remedy = "Set MOOVITAMIX_SOURCE_TOKEN to a token it accepts."
        raise SourceUnavailable(
            f"{settings.source_url} gave no page: {error}. "
            + (remedy if refused else "Start it or correct MOOVITAMIX_SOURCE_URL.")
        ) from error
    page = decode_page(TRACKS, body, where=settings.source_url)
    return f"{settings.source_url} speaks the contract, {page.total or 0:,} tracks"


def _mlflow(settings: Settings) -> str:
    uri = settings.mlflow_tracking_uri.get_secret_value() if settings.mlflow_tracking_uri else ""
    shown = _masked(uri) if "://" in uri else uri
    if importlib.util.find_spec("mlflow") is None:
        raise MoovitaMixError(
            "MLFLOW_TRACKING_URI is set and MLflow is not installed: "
            "`pip install 'moovitamix[mlflow]'`, or unset it."
        )
    if not uri.startswith(("http://", "https://")):
        return f"{shown} is no server's address; `moovitamix models mirror` tries it"
    parts = urllib.parse.urlsplit(uri)
    place = parts.netloc.rpartition("@")[2]
    address = f"{parts.scheme}://{place}{parts.path.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - http, see above
            answer.read(1_000)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StoreUnavailable(
            f"{shown} does not answer: {type(error).__name__}. Promotions do not wait for it; "
            "start it or correct MLFLOW_TRACKING_URI, then `moovitamix models mirror`."
        ) from error
    return f"{shown} answers"


def _channels(settings: Settings, field: str) -> list[Channel]:
    from moovitamix.observe.channels import read_channels

    urls = getattr(settings, field)
    return read_channels(urls.get_secret_value() if urls is not None else None)


def _alerts(settings: Settings) -> str:
    """Which channels there are. Nothing is sent: that is what `alerts send-test` is for."""
    names = _understood(settings, "alert_urls")
    if not names:
        return "only logged; MOOVITAMIX_ALERT_URLS names channels to send them to"
    return f"to {', '.join(names)}; `moovitamix alerts send-test` tries them"


def _report(settings: Settings) -> str:
    """To whom the daily report goes. Nothing is sent."""
    return f"sent once a day to {', '.join(_understood(settings, 'report_urls'))}"


def _understood(settings: Settings, field: str) -> list[str]:
    """The names of a setting's channels, of which Apprise can make something."""
    from moovitamix.observe.channels import is_understood

    channels = _channels(settings, field)
    broken = [channel.name for channel in channels if not is_understood(channel)]
    if broken:
        raise SettingsError(
            f"Apprise does not understand {', '.join(broken)}: correct {Settings.variable(field)}."
        )
    return [channel.name for channel in channels]


def _logs(settings: Settings) -> str:
    """Whether the server for logs can be reached. Nothing is sent."""
    from moovitamix.observe.logs.address import read_address

    address = read_address(settings.gelf_url or "")
    try:
        address.connect(10).close()
    except OSError as error:
        raise StoreUnavailable(
            f"{address} does not answer: {type(error).__name__}. Nothing waits for it, and old "
            "messages are dropped meanwhile; start it or correct MOOVITAMIX_GELF_URL."
        ) from error
    return f"to {address}"
