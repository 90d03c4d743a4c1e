"""Reports made up from their own types: any of them, and a plain one."""

from __future__ import annotations

import types
import typing
from dataclasses import is_dataclass
from datetime import UTC, date, datetime
from typing import Any

from hypothesis import strategies as st

from moovitamix.observe.report.model import SHAPE, Report
from moovitamix.observe.report.of_runs import Checks, Work
from moovitamix.observe.report.of_service import Online

# What XML cannot hold is in no name of ours.
_LETTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn"))
_TEXT = st.text(_LETTERS, max_size=12) | st.sampled_from(
    ["<script>alert(1)</script>", "a & b", '"quoted"', "`moovitamix run`", "one ` alone"]
)
_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: _TEXT,
    int: st.integers(0, 2**53),
    float: st.floats(-1e12, 1e12, allow_nan=False),
    bool: st.booleans(),
    date: st.dates(date(2026, 1, 1), date(2029, 12, 31)),
    datetime: st.datetimes(datetime(2026, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - with its zone beside it
    types.NoneType: st.none(),
}


def made(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that reports are made of."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(kind, type) and is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{name: made(hint) for name, hint in hints.items()})
    arguments = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(made(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(made(arguments[0]), made(arguments[1]), max_size=3)
    return st.one_of([made(one) for one in arguments])


def any_report() -> st.SearchStrategy[Report]:
    """Any report of this shape."""
    hints = typing.get_type_hints(Report)
    parts = {name: made(hint) for name, hint in hints.items()}
    return st.builds(Report, **{**parts, "shape": st.just(SHAPE)})


def plain_report(day: date, **parts: Any) -> Report:
    """A report of a day on which nothing was; with other parts where they are given."""
    moment = datetime(2026, 11, 26, 4, tzinfo=UTC)
    nothing = Checks(passed=0, warning=0, failed=0, not_good=())
    empty: dict[str, Any] = {
        "shape": SHAPE,
        "day": day,
        "written_at": moment,
        "namespace": "mvx",
        "outcome": "missing",
        "needs": (),
        "work": Work(since=moment, until=moment, runs=(), left_out=0, steps=(), checks=nothing),
        "volumes": (),
        "quarantine": (),
        "blocked": (),
        "drift": None,
        "model": None,
        "verdicts": (),
        "serving": None,
        "online": Online(day=None, week=None, apart=(), click_through=(None,) * 28),
        "storage": (),
    }
    return Report(**{**empty, **parts})
