"""The command `source accept-reset`."""

from __future__ import annotations

import click

from moovitamix.commands.terms import console


@click.command("accept-reset")
@click.option("--yes", is_flag=True, help="Do not ask.")
def accept_reset(yes: bool) -> None:
    """Go on with a source that has started anew: set the old world aside, and start empty.

    For when a run was refused because the ids of the last pull are gone or stand for others.
    Nothing is deleted: the tables get another schema name, the files another folder. The lists
    are no longer served, for their ids mean other tracks now. Stopped at any moment, it can be
    repeated. Whoever is at work is waited for.
    """
    from moovitamix import reset
    from moovitamix.resources import Cache, Lake, Warehouse

    warehouse, lake = Warehouse(), Lake().open()
    world = reset.present_world(warehouse, lake)
    if world.unfinished:
        console.print("A reset was begun and stopped: it is completed now.")
    else:
        rows = world.rows
        console.print(
            f"Set aside: {rows['tracks']:,} tracks, {rows['users']:,} users, "
            f"{rows['listen_history']:,} listens of {world.days} days, {world.pulls} pulls, all "
            "models. Until the next run has published, nobody gets a list."
        )
        if not yes:
            click.confirm("Start empty?", abort=True)
    name = reset.set_aside(
        warehouse,
        lake,
        Cache(),
        on_wait=lambda: console.print("A run is under way: waiting until it is done."),
    )
    console.print(
        f"The old world is in the schema [bold]{name}[/] and in the lake's "
        f"[bold]before/{name}/[/]. Load the new one: [bold]moovitamix run[/]"
    )
