"""The command `models mirror`, and what commands that change the registry say of MLflow."""

from __future__ import annotations

from datetime import timedelta

import click
from rich.markup import escape

from moovitamix.commands.terms import console
from moovitamix.errors import MoovitaMixError, NothingToDo

# Somebody waits for it, and can stop it: a long history from nothing takes its time.
_PATIENCE = timedelta(minutes=30)


@click.command("mirror")
def mirror_models() -> None:
    """Bring the whole registry to the MLflow server of MLFLOW_TRACKING_URI.

    Trainings, promotions and rollbacks do so themselves: this is for a server that was down, or
    is new. What is there already stays as it is.
    """
    from moovitamix.recommend import mirror
    from moovitamix.resources import Warehouse

    mirrored = mirror.mirror(Warehouse(), _PATIENCE)
    if mirrored is None:
        raise NothingToDo("No MLflow is configured: set MLFLOW_TRACKING_URI to its address.")
    if not mirrored.well:
        raise MoovitaMixError(mirrored.told)
    console.print(escape(mirrored.told))


def tell_mirror() -> None:
    """Mirror what a command has changed, and say how that went; nothing where none is set."""
    from moovitamix.recommend import mirror
    from moovitamix.resources import Warehouse

    mirrored = mirror.mirror(Warehouse())
    if mirrored is not None:
        style = "dim" if mirrored.well else "yellow"
        console.print(f"[{style}]{escape(mirrored.told)}[/]")
