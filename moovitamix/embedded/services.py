"""The embedded servers under the home: what runs, what must be started, how all are stopped."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from moovitamix.embedded import postgres, valkey
from moovitamix.embedded.detached import DetachedServer
from moovitamix.settings import get_settings

DEMO_DAYS = 60


def _folder(name: str) -> Path:
    return get_settings().home_path / name


def ensure_postgres() -> str:
    """The libpq URL of the embedded Postgres, started when it does not run."""
    return postgres.ensure_postgres(_folder("postgres"))


def ensure_valkey() -> str:
    """The redis URL of the embedded Valkey, started when it does not run."""
    return valkey.ensure_valkey(_folder("valkey"))


def ensure_demo_source() -> str:
    """The URL of the demonstration source, started when it does not run.

    Its world is founded at the first start, `DEMO_DAYS` before the present, and stays the same
    from then on: the next day it holds one day more.
    """
    folder = _folder("demo_source")
    server = DetachedServer("The demonstration source", folder)
    port_file = folder / "port"
    simulated = get_settings().now
    now = simulated.isoformat() if simulated else None

    def command() -> list[str]:
        port_file.unlink(missing_ok=True)
        clock = ["--now", now] if now else []
        return [
            *(sys.executable, "-m", "moovitamix", "source", "serve", "--port", "0"),
            *("--first-day", _demo_first_day(folder).isoformat()),
            *("--port-file", str(port_file), *clock),
        ]

    def ready() -> Mapping[str, Any] | None:
        found = port_file.exists() and port_file.read_text().strip()
        return {"url": f"http://127.0.0.1:{found}", "now": now} if found else None

    running = server.running()
    if running is not None and running.get("now") != now:
        server.stop()  # it shows another moment: a simulated present was set, changed or unset
    return str(server.ensure(command, ready)["url"])


def _demo_first_day(folder: Path) -> date:
    founded = folder / "world.json"
    if not founded.exists():
        first = get_settings().present().date() - timedelta(days=DEMO_DAYS)
        founded.write_text(json.dumps({"first_day": first.isoformat()}))
    return date.fromisoformat(json.loads(founded.read_text())["first_day"])


def running() -> dict[str, bool]:
    """Which of the embedded servers run, by name."""
    return {
        "postgres": postgres.is_running(_folder("postgres")),
        "valkey": valkey.valkey_server(_folder("valkey")).running() is not None,
        "demo source": _demo_server().running() is not None,
    }


def start_all() -> dict[str, str]:
    """Start the embedded servers that take the place of unconfigured ones: name and address."""
    settings = get_settings()
    started = {}
    if settings.database_url is None:
        started["postgres"] = ensure_postgres()
    if settings.redis_url is None:
        started["valkey"] = ensure_valkey()
    if settings.source_url is None:
        started["demo source"] = ensure_demo_source()
    return started


def stop(names: Iterable[str] | None = None) -> list[str]:
    """Stop embedded servers of this home.

    Args:
        names: Which, as in `running`; all when None.

    Returns:
        The names of those that ran.
    """
    stops: dict[str, Callable[[], bool]] = {
        "demo source": _demo_server().stop,
        "valkey": valkey.valkey_server(_folder("valkey")).stop,
        "postgres": lambda: postgres.stop_postgres(_folder("postgres")),
    }
    wanted = set(stops) if names is None else set(names)
    return [name for name, stop_one in stops.items() if name in wanted and stop_one()]


def _demo_server() -> DetachedServer:
    return DetachedServer("The demonstration source", _folder("demo_source"))
