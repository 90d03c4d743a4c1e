"""The commands `keys create`, `keys list` and `keys revoke`: who may ask the HTTP API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich import box
from rich.table import Table

from moovitamix.commands.terms import console
from moovitamix.errors import SettingsError

if TYPE_CHECKING:
    from moovitamix.serve.http.keys import KeyStore, Scope

_SHOWN = 8


@click.group()
def keys() -> None:
    """Keys of the HTTP API. Only their hashes are kept; a running API sees a change in seconds."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(["read", "write", "admin"]),
    default="read",
    show_default=True,
    help="read: lists and status; write: what is heard and thought of them too; admin: all.",
)
@click.option("--rate", type=float, metavar="N", help="Requests a second [MOOVITAMIX_RATE_LIMIT].")
def create(name: str, scope: Scope, rate: float | None) -> None:
    """Make a key for NAME and show it, this once.

    A name may have several keys: to rotate, make a new one, hand it over, revoke the old one.
    """
    from moovitamix.serve.http.keys import add_key, make_key

    if rate is not None and not rate > 0:
        raise click.UsageError("--rate is above 0.")
    secret, key = make_key(name, scope, rate)
    path = _file(_store())
    add_key(path, key)
    console.print(f"[bold]{secret}[/]")
    console.print(
        f"[dim]{name} · {scope} · its hash begins with {key.digest[:_SHOWN]} and is in {path}\n"
        "Shown this once. Send it as `Authorization: Bearer …` or `X-API-Key`.[/]"
    )


@keys.command("list")
def list_keys() -> None:
    """Whose keys there are, what they may, and how their hashes begin."""
    found = _store().keys
    if found is None:
        console.print("There is no key: the API is open, and listens on loopback only.")
        return
    table = Table("name", "scope", "hash begins", "requests/s", box=box.SIMPLE_HEAD)
    for key in found:
        rate = "" if key.per_second is None else f"{key.per_second:g}"
        table.add_row(key.name, key.scope, key.digest[:_SHOWN], rate)
    console.print(table)


@keys.command("revoke")
@click.argument("name")
@click.option("--hash", "prefix", metavar="BEGIN", help="Only the key whose hash begins so.")
def revoke(name: str, prefix: str | None) -> None:
    """Remove the keys of NAME, or one of them. Without any key left, nobody is let in."""
    from moovitamix.serve.http.keys import remove_keys

    removed = remove_keys(_file(_store()), name, prefix)
    console.print(f"Revoked {removed} of {name}.")


def _store() -> KeyStore:
    from moovitamix.serve.http.keys import KeyStore
    from moovitamix.settings import get_settings

    settings = get_settings()
    configured = settings.api_keys.get_secret_value() if settings.api_keys else None
    try:
        return KeyStore(configured, settings.home_path)
    except SettingsError:
        if configured is None or not configured.startswith(("/", "./", "../", "~")):
            raise
        path = Path(configured).expanduser()
        if path.exists():
            raise
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # the first key of a file that is named but not there yet
        return KeyStore(configured, settings.home_path)


def _file(store: KeyStore) -> Path:
    if store.path is None:
        raise SettingsError(
            "The keys are in MOOVITAMIX_API_KEYS itself: change them there, or let it name a file."
        )
    return store.path
