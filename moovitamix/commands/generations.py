"""The commands `generations list`, `generations switch` and `generations renew`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from rich import box
from rich.table import Table

from moovitamix.commands.terms import console

if TYPE_CHECKING:
    from moovitamix.serve.generations import Generation


@click.group()
def generations() -> None:
    """What is in the cache: which lists are served, and which could be again."""


@generations.command("list")
def list_generations() -> None:
    """All generations that are whole and have not expired, the newest first."""
    from moovitamix.resources import Cache
    from moovitamix.serve.arms import served_generations
    from moovitamix.serve.life import living

    cache = Cache()
    with cache.connect() as client:
        found, served = living(client, cache.prefix), served_generations(client, cache.prefix)
    if not found:
        console.print("The cache is empty: [bold]moovitamix run[/] publishes.")
        return
    table = Table(
        "generation", "published (UTC)", "expires (UTC)", "lists", "", box=box.SIMPLE_HEAD
    )
    for one in found:
        arms = [arm for arm, generation in served.items() if generation.name == one.name]
        lists = f"{sum(one.keys.values()):,}"
        state = "".join("[green]served[/]" if arm == "champion" else arm for arm in arms)
        table.add_row(one.name, _when(one.published_at), _when(one.expires_at), lists, state)
    console.print(table)


@generations.command()
@click.argument("name")
def switch(name: str) -> None:
    """Serve the generation NAME again, at once, and for a day.

    It is looked through first: one that is not whole is refused. What was withdrawn or blocked
    since it was published may be in its lists; the HTTP API leaves that out. The next publication
    takes its place: to keep a model from being served, `moovitamix models rollback`.
    """
    from moovitamix.errors import NothingToDo
    from moovitamix.resources import Cache
    from moovitamix.serve.life import living, switch_to

    cache = Cache()
    with cache.connect() as client:
        named = [one for one in living(client, cache.prefix) if one.name == name]
        if not named:
            raise NothingToDo(
                f"There is no generation {name}, or no more: `moovitamix generations list` shows "
                "which there are."
            )
        served = switch_to(client, cache.prefix, named[0])
    console.print(tell_served(served))


@generations.command("renew")
def renew_current() -> None:
    """Let what is served live for another day when less than a third of its life is left.

    The sensor `keep_serving`, the HTTP API and `moovitamix run` do the same by themselves.
    """
    from moovitamix.errors import NothingToDo
    from moovitamix.resources import Cache
    from moovitamix.serve.arms import renew_challenger
    from moovitamix.serve.life import renew

    cache = Cache()
    with cache.connect() as client:
        renewal = renew(client, cache.prefix)
        renew_challenger(client, cache.prefix)
    if renewal.generation is None:
        raise NothingToDo("Nothing is served: `moovitamix run` publishes.")
    if renewal.missing:
        console.print(
            f"[yellow]{renewal.missing:,} of its lists are gone:[/] publish again with "
            "[bold]moovitamix run[/]"
        )
    console.print(
        tell_served(renewal.generation) if renewal.renewed else _young(renewal.generation)
    )


def tell_served(served: Generation) -> str:
    """What is served, and until when."""
    return f"[bold]{served.name}[/] is served until {_when(served.expires_at)} UTC."


def _young(served: Generation) -> str:
    return f"{tell_served(served)} There is nothing to renew yet."


def _when(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"
