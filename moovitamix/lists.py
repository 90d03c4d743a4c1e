"""Lists of tracks with names and scores, for people: what `recommend` and `similar` print."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from moovitamix.errors import NothingToDo
from moovitamix.resources import Cache, Warehouse
from moovitamix.serve.names import track_names
from moovitamix.serve.recommender import Recommender, ScoredTrack


def print_recommendations(
    console: Console, user: int, limit: int, *, repeats: bool = False
) -> None:
    """What a user hears next, heard tracks among it where asked for, and the tier that answered."""
    cache = Cache()
    with cache.connect() as client:
        found = Recommender(client, cache.prefix).recommend(user, limit, repeats=repeats)
    console.print(f"[bold]User {user}[/]")
    _print_tracks(console, found.items)
    console.print(
        f"[dim]tier: {found.tier} · model version {found.model_version} · "
        f"generation {found.generation}[/]"
    )


def print_similar(console: Console, track: int, limit: int) -> None:
    """The tracks most like one.

    Raises:
        NothingToDo: When the model does not know the track.
    """
    cache = Cache()
    with cache.connect() as client:
        found = Recommender(client, cache.prefix).similar(track, limit)
    if not found.items:
        raise NothingToDo(
            f"The model knows no track {track}: nobody has heard it yet, or it does not exist. "
            "`moovitamix recommend USER` shows ids of tracks."
        )
    name = track_names(Warehouse(), [track]).get(track)
    known = f": {escape(name.name)} · {escape(name.artist)}" if name else ""
    console.print(f"[bold]Like track {track}{known}[/]")
    _print_tracks(console, found.items)
    console.print(f"[dim]model version {found.model_version} · generation {found.generation}[/]")


def _print_tracks(console: Console, items: Sequence[ScoredTrack]) -> None:
    names = track_names(Warehouse(), [item.track_id for item in items])
    table = Table(box=box.SIMPLE_HEAD)
    for title, justify in (("", "right"), ("track", "left"), ("artist", "left")):
        table.add_column(title, justify="right" if justify == "right" else "left")
    table.add_column("id", justify="right")
    table.add_column("score", justify="right")
    for rank, item in enumerate(items, start=1):
        name = names.get(item.track_id)
        table.add_row(
            str(rank),
            escape(name.name) if name else "",
            escape(name.artist) if name else "",
            str(item.track_id),
            f"{item.score:,.4g}",
        )
    console.print(table)
