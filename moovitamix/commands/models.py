"""The commands `models list`, `show`, `compare`, `promote`, `rollback`, `unpin`; and the group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from moovitamix.commands.experiment import end_served_experiment, tell_experiment_fault
from moovitamix.commands.mirror import mirror_models, tell_mirror
from moovitamix.commands.terms import console, system_user

if TYPE_CHECKING:
    from moovitamix.recommend.registry import ModelVersion
    from moovitamix.recommend.succession import Entry

_NEXT = "Lists are from it after the next [bold]moovitamix run[/]"
_PINNED = "[yellow]Pinned:[/] automation promotes nothing until [bold]moovitamix models unpin[/]"


def _named(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--reason", help="For those who read the record.")(command)
    return click.option("--by", metavar="NAME", help="Who decides [the system's user].")(command)


@click.group()
def models() -> None:
    """The model registry: which versions there are, which one is served, and why."""


models.add_command(mirror_models)


@models.command("list")
def list_versions() -> None:
    """All versions, newest first: status, data, verdict, and whether their files are there."""
    from moovitamix.recommend import registry, succession
    from moovitamix.recommend.recorded_figures import own_ndcg
    from moovitamix.resources import Warehouse

    with Warehouse().connect() as connection:
        versions = registry.history(connection)
        pinned = succession.pin(connection)
    if not versions:
        console.print("There is no model yet: [bold]moovitamix run[/] trains one.")
        return
    table = Table("", "status", "as of", "NDCG", "verdict", "files", box=box.SIMPLE_HEAD)
    table.columns[0].justify = "right"
    for one in versions:
        ndcg = own_ndcg(one.metrics)
        style = "bold" if one.status == "champion" else None
        table.add_row(
            str(one.version),
            _status(one),
            str(one.as_of),
            f"{ndcg.value:.4f}" if ndcg else "",
            one.verdict or "not judged",
            "removed" if one.artifact_removed_at else "there",
            style=style,
        )
    console.print(table)
    if pinned:
        console.print(_PINNED)


@models.command()
@click.argument("version", metavar="V", type=int)
def show(version: int) -> None:
    """All about a version: data, parameters, figures with intervals, verdict, and who decided."""
    from moovitamix.recommend import likeness, registry, succession
    from moovitamix.resources import Warehouse

    with Warehouse().connect() as connection:
        found = registry.find(connection, version)
        entries = [one for one in succession.decisions(connection) if one.version == version]
    facts = Table(box=None, show_header=False)
    for name, value in _facts(found).items():
        facts.add_row(f"[dim]{name}[/]", escape(value))
    console.print(f"[bold]Version {version}[/]", facts, sep="\n")
    parameters = Table("parameter", "value", box=box.SIMPLE_HEAD)
    for name, setting in likeness.flat(found.parameters).items():
        parameters.add_row(name, str(setting))
    fitted = found.parameters.get("als", {}).get("regularization")
    if fitted not in (None, likeness.flat(found.parameters)["als.regularization"]):
        parameters.add_row("als.regularization, as fitted", str(fitted))
    console.print(parameters)
    _print_figures(found.metrics)
    criteria = Table("criterion", "found", "asked", "met", box=box.SIMPLE_HEAD)
    for one in found.criteria:
        met = {True: "yes", False: "[red]no[/]", None: "cannot be told"}[one["passed"]]
        criteria.add_row(one["name"], escape(one["value"]), escape(one["bound"]), met)
    if criteria.row_count:
        console.print(criteria)
    if found.reason:
        console.print(escape(found.reason))
    for entry in entries:
        console.print(_told(entry))


def _print_figures(metrics: Mapping[str, Any]) -> None:
    from moovitamix.recommend.recorded_figures import recorded_figures, side_by_side

    tables = side_by_side(metrics)
    if metrics and not tables:
        figures = Table("figure", "value, 95 % interval", box=box.SIMPLE_HEAD)
        for name, figure in recorded_figures(metrics).items():
            figures.add_row(name, escape(str(figure)))
        console.print(figures)
    k = metrics.get("rules", {}).get("k", 10)
    for task, rows in tables.items():
        less = rows.pop("less")
        rankers = list(rows["ndcg"])
        table = Table(f"{task} at {k}", *rankers, box=box.SIMPLE_HEAD)
        for measure, by_ranker in rows.items():
            values = [f"{by_ranker[one].value:.4f}" if one in by_ranker else "" for one in rankers]
            table.add_row(measure, *values)
        console.print(table)
        for ranker, figure in less.items():
            console.print(f"  NDCG, candidate less {ranker}: {escape(str(figure))}")


@models.command()
@click.argument("one", metavar="A", type=int)
@click.argument("other", metavar="B", type=int)
def compare(one: int, other: int) -> None:
    """What differs between two versions, and their figures side by side.

    Each version was judged by the last days of its own data. Figures on different days do not tell
    which model is better: it is said when they are.
    """
    from moovitamix.recommend import likeness, registry
    from moovitamix.recommend.recorded_figures import recorded_figures
    from moovitamix.resources import Warehouse

    if one == other:
        raise click.UsageError("Give two versions: A and B are the same.")
    with Warehouse().connect() as connection:
        left, right = registry.find(connection, one), registry.find(connection, other)
    table = Table("", f"version {one}", f"version {other}", box=box.SIMPLE_HEAD)
    facts = _facts(left), _facts(right)
    for name, value in facts[0].items():
        _add_pair(table, name, value, facts[1][name])
    differing = likeness.differences(left.parameters, right.parameters)
    for name, first, second in differing:
        _add_pair(table, name, str(first), str(second))
    figures = recorded_figures(left.metrics), recorded_figures(right.metrics)
    for name in dict.fromkeys([*figures[0], *figures[1]]):
        _add_pair(table, name, *(str(found.get(name, "")) for found in figures))
    console.print(table)
    if not differing:
        console.print("The configuration is the same: they differ by their data.")
    if left.as_of != right.as_of:
        console.print(
            "[yellow]Judged by different days:[/] the figures do not tell which one is better."
        )


@models.command()
@click.argument("version", metavar="V", type=int)
@_named
def promote(version: int, by: str | None, reason: str | None) -> None:
    """Make a version the champion, whatever the gate has said about it.

    Its files are read first: what cannot be loaded is not promoted. The next training may
    be promoted after it, unless a rollback pins the champion.
    """
    from moovitamix.recommend import registry, succession
    from moovitamix.resources import Lake, Warehouse
    from moovitamix.rollback import refuse_unsound

    name = by or system_user()
    with Warehouse().connect() as connection:
        refuse_unsound(Lake().open(), registry.find(connection, version))
        promoted = succession.promote_by_hand(connection, version, name, reason)
        before = succession.predecessor(connection)
        pinned = succession.pin(connection)
    end_served_experiment()
    after = f", after version {before.version}" if before else ""
    console.print(f"Version [bold]{promoted.version}[/] is the champion{after}.")
    console.print(_NEXT)
    if pinned:
        console.print(_PINNED)
    tell_mirror()


@models.command()
@_named
def rollback(by: str | None, reason: str | None) -> None:
    """Make the champion's predecessor the champion again, and pin it.

    Its lists are served at once where the cache still has them. Until `models unpin` trainings are
    evaluated and judged, but none is promoted.
    """
    from moovitamix.commands.generations import tell_served
    from moovitamix.resources import Cache, Lake, Warehouse
    from moovitamix.rollback import roll_back

    done = roll_back(
        Warehouse(), Lake().open(), Cache(), decided_by=by or system_user(), reason=reason
    )
    tell_experiment_fault(done.experiment_fault)
    instead = f" again, instead of version {done.instead_of}" if done.instead_of else ""
    console.print(f"Version [bold]{done.champion.version}[/] is the champion{instead}.")
    console.print(tell_served(done.served) if done.served else _NEXT)
    console.print(_PINNED)
    tell_mirror()


@models.command()
@_named
def unpin(by: str | None, reason: str | None) -> None:
    """Let automation promote again: the next training is judged against the champion."""
    from moovitamix.recommend import succession
    from moovitamix.resources import Warehouse

    name = by or system_user()
    with Warehouse().connect() as connection:
        pinned = succession.unpin(connection, name, reason)
    console.print(
        f"The pin of {_when(pinned.decided_at)} is off. The gate decides about the next training; "
        "candidates from before stay what they are."
    )
    tell_mirror()


def _facts(version: ModelVersion) -> dict[str, str]:
    gone = version.artifact_removed_at
    return {
        "status": _status(version),
        "verdict": version.verdict or "not judged",
        "data up to": str(version.as_of),
        "newest pull": version.pull,
        "matrix": version.matrix_fingerprint[:16],
        "trained": _when(version.created_at),
        "promoted": _when(version.promoted_at),
        "files": f"removed {_when(gone)}" if gone else version.artifact,
        "code": version.code_version,
        "run": version.run_id,
    }


def _status(version: ModelVersion) -> str:
    served = version.status == "champion" and version.algorithm == "popularity"
    provisional = version.status == "champion" and version.provisional
    return (
        f"{version.status}{' (serves popularity)' if served else ''}"
        f"{', provisional' if provisional else ''}"
    )


def _told(entry: Entry) -> str:
    verbs = {"promote": "Promoted", "rollback": "Rolled back to", "unpin": "Unpinned"}
    if entry.action == "experiment":
        against = f"Tried against version {entry.predecessor}"
        return f"{_when(entry.decided_at)}  {against}: {escape(entry.reason or '')}"
    verb = verbs[entry.action]
    by = f"by {escape(entry.decided_by)}" if entry.decided_by else "by the gate"
    after = f", after version {entry.predecessor}" if entry.action == "promote" else ""
    after += f" from version {entry.predecessor}" if entry.action == "rollback" else ""
    if entry.predecessor is None:
        after = ""
    why = f": {escape(entry.reason)}" if entry.reason else ""
    return f"{_when(entry.decided_at)}  {verb} {by}{after}{why}"


def _add_pair(table: Table, name: str, left: str, right: str) -> None:
    table.add_row(name, escape(left), escape(right))


def _when(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if moment else "never"
