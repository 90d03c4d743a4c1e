"""What was checked last in each stage, by result. Pure.

Which stage is well is told in `health.py`. Every check's history is in Dagster, which the API need
not reach: this is what the stores hold of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from moovitamix.serve.http.console.books import Books
from moovitamix.serve.http.console.lists import Lists
from moovitamix.warehouse.collapse import WHOLENESS_RULES
from moovitamix.warehouse.expectations import STAGED_EXPECTATIONS


@dataclass(frozen=True)
class Checks:
    """What was checked last, by result; names of what was not passed.

    Attributes:
        what: In a few words.
        passed: How many.
        warned: Passed with a warning, or accepted by somebody.
        failed: Not passed.
        unknown: Nobody can tell.
    """

    what: str
    passed: int = 0
    warned: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Process:
    """What this process of the API knows by itself."""

    redis: str
    names: int
    popular: int
    live_version: int | None
    removals_known: bool


def of_pulls(books: Books) -> Checks | None:
    """Whether the newest pull is whole."""
    if books.pull is None:
        return None
    rules = {(rule.asset, rule.name) for rule in WHOLENESS_RULES}
    broken = {(one.table, one.rule) for one in books.broken if one.accepted_by is None} & rules
    return Checks("of the pull", len(rules) - len(broken), failed=_names(broken))


def of_slices(books: Books) -> Checks | None:
    """The rules for the newest day that was judged."""
    if books.judged is None:
        return None
    rules = {(rule.table, rule.name) for rule in STAGED_EXPECTATIONS}
    broken = {(table, name): accepted for table, name, accepted in books.judged.broken}
    return Checks(
        f"of {books.judged.day}",
        len(rules - set(broken)),
        warned=_names({rule for rule in rules & set(broken) if broken[rule]}),
        failed=_names({rule for rule in rules & set(broken) if not broken[rule]}),
    )


def of_versions(books: Books) -> Checks | None:
    """The criteria for the newest version that was judged."""
    judged = next((one for one in books.versions if one.criteria), None)
    if judged is None:
        return None
    by: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for criterion in judged.criteria:
        by[criterion["passed"]].append(criterion["name"])
    return Checks(
        f"of version {judged.version}",
        len(by[True]),
        failed=tuple(by[False]),
        unknown=tuple(by[None]),
    )


def of_serving(lists: Lists | None, process: Process) -> Checks:
    """What this process finds of what it serves."""
    looks = {
        "Redis answers": process.redis == "closed" and lists is not None,
        "a generation is current": None if lists is None else lists.current is not None,
        "factors are loaded": process.live_version is not None,
        "names are loaded": process.names > 0,
        "removals are known": process.removals_known,
    }
    return Checks(
        "of this process",
        sum(held is True for held in looks.values()),
        failed=tuple(name for name, held in looks.items() if held is False),
        unknown=tuple(name for name, held in looks.items() if held is None),
    )


def of_readings(books: Books) -> Checks | None:
    """Drift, feature by feature, on the newest day that was read.

    How far the day is from the data of today's champion is unknown where it was read against
    that of an earlier one.
    """
    if not books.readings:
        return None
    by: dict[str, list[str]] = {}
    for one in books.readings:
        verdict = one.verdict if one.of_champion else "cannot tell"
        by.setdefault(verdict, []).append(one.feature)
    return Checks(
        "of drift",
        len(by.get("steady", ())),
        warned=tuple(by.get("warning", ())),
        failed=tuple(by.get("drifted", ())),
        unknown=tuple(by.get("cannot tell", ())),
    )


def _names(pairs: set[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(f"{table}.{rule}" for table, rule in sorted(pairs))
