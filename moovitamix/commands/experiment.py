"""The commands `experiment start`, `experiment status` and `experiment stop`."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from moovitamix.commands.mirror import tell_mirror
from moovitamix.commands.terms import console, system_user

if TYPE_CHECKING:
    from moovitamix.recommend.experiment_figures import Outcome
    from moovitamix.recommend.experiments import Experiment


@click.group()
def experiment() -> None:
    """A/B: try a version on a part of the users, beside the champion.

    \b
    moovitamix models list                    which versions there are
    moovitamix experiment start 7 --days 14   half of the users are answered by version 7
    moovitamix experiment status              figures of both arms, users, days left
    moovitamix experiment stop --promote      the verdict; a better challenger is promoted
    """


@experiment.command()
@click.argument("challenger", metavar="CHALLENGER", type=int)
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="Of users to be answered by the challenger.",
)
@click.option(
    "--days",
    type=click.FloatRange(0, 3650, min_open=True),
    help="How long it is to run; status tells when they are over [until it is stopped].",
)
@click.option("--by", metavar="NAME", help="Who decides [the system's user].")
@click.option("--reason", help="For those who read the record.")
def start(
    challenger: int, share: float, days: float | None, by: str | None, reason: str | None
) -> None:
    """Answer a part of the users from the version CHALLENGER from now on.

    A user stays in the same arm, in every process, until the experiment ends. The challenger's
    lists are published beside the champion's first, and `run` publishes both again each day: Redis
    has to hold five generations. Another champion, promoted or rolled back to, breaks it off.
    Say beforehand, with --days, when it is to be judged: the verdict is made in one look.
    """
    from moovitamix.resources import Cache, Lake, Warehouse
    from moovitamix.serve.experiment import start_experiment

    cache, name = Cache(), by or system_user()
    with cache.connect() as client:
        begun, generation = start_experiment(
            Warehouse(),
            Lake().open(),
            client,
            cache.prefix,
            challenger=challenger,
            share=share,
            salt=secrets.token_hex(8),
            by=name,
            reason=reason,
            days=days,
            tell=console.print,
        )
    until = f", until {_when(begun.ends_at)}" if begun.ends_at else ""
    console.print(
        f"Experiment [bold]{begun.id}[/] runs{until}: {share:.0%} of users are answered by version "
        f"[bold]{challenger}[/] ({generation.name}), all others by version {begun.champion}.\n"
        "See it with [bold]moovitamix experiment status[/]"
    )


@experiment.command()
def status() -> None:
    """Arms, users, figures with 95 % intervals, and days left, of the newest experiment.

    Look as often as you like, but decide once, at the end: an interval holds for one look. What
    could be detected tells whether waiting can still settle it.
    """
    from moovitamix.recommend import experiments
    from moovitamix.recommend.experiment_counts import count_by_user
    from moovitamix.recommend.experiment_figures import compare_arms
    from moovitamix.resources import Warehouse

    now = datetime.now(UTC)
    with Warehouse().connect() as connection:
        found = experiments.newest(connection)
        if found is None:
            console.print(
                "There has been no experiment: [bold]moovitamix experiment start V[/] begins one."
            )
            return
        outcome = compare_arms(count_by_user(connection, found, now), found.share)
    console.print(f"[bold]Experiment {found.id}[/], {_state(found, now)}")
    if found.start_reason:
        console.print(f"[dim]Why:[/] {escape(found.start_reason)}")
    if found.verdict is None:
        _print_outcome(found, outcome)
        _print_served()
        return
    if found.verdict != "broken off":
        _print_outcome(found, outcome)
    console.print(f"[bold]{found.verdict}.[/] {escape(found.reason or '')}")


@experiment.command()
@click.option("--promote", is_flag=True, help="Promote the challenger where it is better.")
@click.option("--by", metavar="NAME", help="Who decides [the system's user].")
@click.option("--reason", help="Of the promotion, for those who read the record.")
def stop(promote: bool, by: str | None, reason: str | None) -> None:
    """End the experiment: everybody is answered by the champion again, and the verdict is recorded.

    The verdict is `challenger better`, `champion better` or `cannot tell`: whether the whole
    interval of the difference is on one side of 0. It rests on click-through where there is
    feedback of enough users, else on plays per user. The challenger is promoted only with
    --promote and when it is better; whatever the verdict, `models promote V` does it later.
    """
    from moovitamix.commands.generations import tell_served
    from moovitamix.recommend import experiments, succession
    from moovitamix.recommend.experiment_counts import count_by_user
    from moovitamix.recommend.experiment_figures import compare_arms, verdict_of
    from moovitamix.resources import Cache, Warehouse
    from moovitamix.rollback import serve_again
    from moovitamix.serve.arms import withdraw_experiment

    cache, warehouse, name = Cache(), Warehouse(), by or system_user()
    with warehouse.connect() as connection:
        found = experiments.require_running(connection)
    with cache.connect() as client:  # first: what is judged is what was served until now
        withdraw_experiment(client, cache.prefix)
    with warehouse.connect() as connection:
        outcome = compare_arms(count_by_user(connection, found, datetime.now(UTC)), found.share)
        verdict, why = verdict_of(outcome)
        experiments.conclude(
            connection, found, verdict=verdict, reason=why, figures=outcome.to_json(), by=name
        )
        promoted = promote and verdict == "challenger better"
        if promoted:
            succession.promote_by_hand(
                connection, found.challenger, name, reason or f"experiment {found.id}: {verdict}"
            )
    with cache.connect() as client:  # a publication that was under way may have served it again
        withdraw_experiment(client, cache.prefix)
    _print_outcome(found, outcome)
    console.print(f"[bold]{verdict}.[/] {escape(why)}")
    if promoted:
        served = serve_again(cache, found.challenger)
        console.print(f"Version [bold]{found.challenger}[/] is the champion.")
        console.print(
            tell_served(served)
            if served
            else "Lists are from it after the next [bold]moovitamix run[/]"
        )
        tell_mirror()
    elif verdict == "challenger better":
        console.print(
            f"Make it the champion with [bold]moovitamix models promote {found.challenger}[/]"
        )


def end_served_experiment() -> None:
    """After another champion: answer everybody from what is current, as far as Redis hears it."""
    from moovitamix import rollback
    from moovitamix.resources import Cache

    tell_experiment_fault(rollback.end_served_experiment(Cache()))


def tell_experiment_fault(fault: str | None) -> None:
    """Say why an experiment may still be served, if it may."""
    if fault is not None:
        console.print(f"[yellow]An experiment may still be served:[/] {escape(fault)}")


def _print_outcome(found: Experiment, outcome: Outcome) -> None:
    table = Table(
        "",
        f"champion: version {found.champion}",
        f"challenger: version {found.challenger}",
        "difference",
        "could be detected",
        box=box.SIMPLE_HEAD,
    )
    users = outcome.users
    table.add_row("users", f"{users['champion']:,}", f"{users['challenger']:,}", "", "")
    for one in outcome.figures:
        arms = (escape(str(one.arms[arm])) for arm in ("champion", "challenger"))
        table.add_row(
            f"{one.name} ({sum(one.users.values()):,} users)",
            *(arms),
            escape(str(one.difference)),
            f"{one.detectable:.4f}",
        )
    console.print(table)
    if not outcome.figures:
        console.print("Nothing has been counted yet.")


def _print_served() -> None:
    """Say when the challenger's arm is not being answered by it."""
    from moovitamix.errors import StoreUnavailable
    from moovitamix.resources import Cache
    from moovitamix.serve.arms import served_generations

    cache = Cache()
    try:
        with cache.connect() as client:
            served = served_generations(client, cache.prefix).get("challenger")
    except StoreUnavailable as error:
        console.print(f"[yellow]Not to be seen what is served:[/] {escape(str(error))}")
        return
    if served is None:
        console.print(
            "[yellow]The challenger's lists are not being served:[/] its arm is answered by the "
            "champion. Publish them with [bold]moovitamix run[/]"
        )
    else:
        console.print(
            f"The challenger's arm is answered from {served.name}, "
            f"until {_when(served.expires_at)}."
        )


def _state(found: Experiment, now: datetime) -> str:
    begun = f"begun {_when(found.started_at)} by {escape(found.started_by)}"
    shared = f"{found.share:.0%} of users in the challenger's arm"
    if found.stopped_at is not None:
        by = f" by {escape(found.stopped_by)}" if found.stopped_by else ""
        return f"{begun}, ended {_when(found.stopped_at)}{by}; {shared}"
    if found.ends_at is None:
        return f"{begun}, running; {shared}"
    if found.ends_at <= now:
        return (
            f"{begun}; {shared}. [yellow]Its days are over:[/] "
            "[bold]moovitamix experiment stop[/] makes the verdict"
        )
    left = (found.ends_at - now) / timedelta(days=1)
    return f"{begun}, {left:.1f} days left; {shared}"


def _when(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
