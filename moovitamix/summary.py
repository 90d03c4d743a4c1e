"""What a run has come to, told at its end: tables, model, keys, and what a few users will hear."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from moovitamix.recommend.registry import ModelVersion

SAMPLE_USERS = 3
SAMPLE_TRACKS = 5

_LISTENERS = """
SELECT user_id, count(*) AS plays FROM listen_history
GROUP BY user_id ORDER BY plays DESC, user_id LIMIT %s OFFSET %s
"""

_QUARANTINED = """
SELECT endpoint, coalesce(field || ': ', '') || reason, count(*) FROM quarantine
WHERE resolved_at IS NULL GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
"""


def print_warehouse(console: Console) -> None:
    """Rows per table, what waits in quarantine, and the days that are blocked."""
    from moovitamix.resources import Warehouse
    from moovitamix.warehouse.days import blocked_days
    from moovitamix.warehouse.publish import row_counts

    with Warehouse().connect() as connection:
        rows = row_counts(connection)
        quarantined = connection.execute(_QUARANTINED).fetchall()
        blocked = blocked_days(connection)
    table = _plain("table", ("rows", "right"))
    for name, count in rows.items():
        table.add_row(name, f"{count:,}")
    table.add_row("quarantine", f"{sum(count for *_, count in quarantined):,}")
    console.print(table)
    for endpoint, reason, count in quarantined:
        console.print(f"  [yellow]{count:,} {endpoint} in quarantine:[/] {escape(reason)}")
    for day, checks in blocked.items():
        console.print(f"  [red]{day} is blocked by[/] {', '.join(checks)}")


def print_model(console: Console) -> None:
    """The champion, and its figures next to popularity's."""
    from moovitamix.recommend import figures, registry, succession
    from moovitamix.recommend.training import recorded_evaluation
    from moovitamix.resources import Warehouse

    with Warehouse().connect() as connection:
        champion = registry.champion(connection)
        by_hand = succession.is_by_hand(connection)
        pinned = succession.pin(connection)
    if champion is None:
        return
    console.print(f"\n[bold]{_described(champion)}[/]")
    if by_hand:
        console.print("  Made the champion by hand; what the gate had said of it:")
    console.print(f"  {escape(champion.reason or 'nothing yet')}", highlight=False)
    if pinned:
        console.print(
            "  [yellow]Pinned:[/] automation promotes nothing until "
            "[bold]moovitamix models unpin[/]"
        )
    if not champion.metrics:
        return  # promoted by hand before it was evaluated
    evaluation = recorded_evaluation(champion)
    table = _plain(f"at {evaluation.rules.k}", ("ALS", "right"), ("popularity", "right"))
    for title, als, popular in figures.rows(evaluation):
        table.add_row(title, f"{als.value:.4f}", f"{popular.value:.4f}")
    if table.row_count:
        console.print(table)


def print_training(console: Console) -> None:
    """The newest version: how its configuration was found, and what became of it."""
    from moovitamix.recommend import registry
    from moovitamix.resources import Warehouse

    with Warehouse().connect() as connection:
        versions = registry.history(connection)
    if versions:
        newest = versions[0]
        console.print(f"\n[bold]Version {newest.version}[/] is {newest.status}.")
        for told in (newest.parameters.get("found", {}).get("why"), newest.reason):
            if told:
                console.print(f"  {escape(told)}", highlight=False)
    print_model(console)


def _described(champion: ModelVersion) -> str:
    kind = "ALS" if champion.algorithm == "als" else "popularity"
    provisional = ", provisional" if champion.provisional else ""
    return f"Model version {champion.version}: {kind}{provisional}, as of {champion.as_of}"


def print_samples(console: Console) -> None:
    """The generation that is served, and the top tracks of a few users."""
    from moovitamix.resources import Cache, Warehouse
    from moovitamix.serve.generations import read_current
    from moovitamix.serve.names import track_names
    from moovitamix.serve.recommender import Recommender

    cache, warehouse = Cache(), Warehouse()
    with warehouse.connect() as connection:
        listeners = connection.execute("SELECT count(DISTINCT user_id) FROM listen_history")
        many = (listeners.fetchone() or (0,))[0]
        users = [
            row[0]
            for share in (0.1, 0.4, 0.8)[:SAMPLE_USERS]
            for row in connection.execute(_LISTENERS, (1, int(many * share))).fetchall()
        ]
    with cache.connect() as client:
        generation = read_current(client, cache.prefix)
        if generation is None:
            return
        keys = sum(generation.keys.values())
        recommender = Recommender(client, cache.prefix)
        lists = {user: recommender.recommend(user, SAMPLE_TRACKS) for user in users}
    names = track_names(
        warehouse, {item.track_id for found in lists.values() for item in found.items}
    )
    console.print(f"\n[bold]Generation {generation.name}[/] is served: {keys:,} keys in Redis")
    table = Table(*(f"user {user}" for user in lists), box=box.SIMPLE_HEAD)
    columns = [
        [f"{names[item.track_id].name} · {names[item.track_id].artist}" for item in found.items]
        for found in lists.values()
    ]
    for row in zip(*columns, strict=False):
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)


def _plain(first: str, *others: tuple[str, str]) -> Table:
    table = Table(first, box=box.SIMPLE_HEAD)
    for name, justify in others:
        table.add_column(name, justify="right" if justify == "right" else "left")
    return table
