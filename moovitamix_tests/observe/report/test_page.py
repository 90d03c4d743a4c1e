"""Any report can be kept and shown: as JSON that is read back, and as a page that is safe."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings

from moovitamix.ingest.lake import LakeStore
from moovitamix.observe.report import charts, page, sentences, shelf, words
from moovitamix.observe.report.model import Report
from moovitamix.observe.report.of_service import Rate
from moovitamix.observe.report.read_data import volume
from moovitamix_tests.observe.report.made import any_report, plain_report

DAY = date(2026, 11, 25)
_VOID = {"meta", "wbr", "br", "link", "img", "hr", "input"}


class _Page(HTMLParser):
    """What is in a page: it has to be balanced, and to load nothing."""

    def __init__(self, shown: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(shown)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@given(any_report())
@settings(max_examples=25)
def test_any_report_is_read_back_as_it_was_and_shown_as_a_page_that_runs_nothing(
    report: Report,
) -> None:
    assert shelf.from_json(shelf.to_json(report)) == report
    shown = page.render(report, runbook="https://wiki.example/runbook")
    found = _Page(shown)
    assert found.open == []
    assert not found.tags & {"script", "link", "img", "iframe", "object", "form"}
    names = {name for name, _ in found.attributes}
    assert not [name for name in names if name.startswith("on") or name in {"src", "srcset"}]
    assert "url(" not in shown
    assert "@import" not in shown
    for drawing in re.findall(r"<svg.*?</svg>", shown, re.DOTALL):
        ET.fromstring(drawing)  # noqa: S314 - our own
    told = sentences.in_brief(report, "docs/runbook.md")
    assert all(one.title in told for one in report.needs)
    assert len(sentences.title(report).splitlines()) == 1


def test_a_day_without_anything_says_so_in_each_part() -> None:
    shown = page.render(plain_report(DAY), runbook="docs/runbook.md")
    for said in (
        "2026-11-25 is without data: nothing of it was loaded yet.",
        "Nothing: no alert is open",
        "No figures: the day is not in the tables.",
        "No check ran in this time.",
        "No day is blocked.",
        "Nothing waits in quarantine.",
        "The day was not read for drift.",
        "There is no champion yet.",
        "No version was judged in the last three days.",
        "Nothing is served, or the cache does not answer.",
        "The app has told nothing of what was shown",
        "Nothing ran since",
        "Nothing is told of what is kept.",
    ):
        assert said in shown, said


def test_the_sum_of_a_mail_stays_below_what_mail_clients_cut_off() -> None:
    style = (Path(page.__file__).with_name("page.html.j2")).read_text()
    # Gmail drops a style sheet above 16 kB, and cuts a message off at 102 kB.
    assert len(style[style.index("<style>") : style.index("</style>")]) < 8_000
    assert len(page.render(plain_report(DAY), runbook="r")) < 20_000


@pytest.mark.parametrize("content", [b"", b"[]", b'{"shape": 1}', b'{"shape": 2}', b"\xff"])
def test_a_json_that_cannot_be_read_is_no_report(lake: LakeStore, content: bytes) -> None:
    lake.write_bytes(shelf.json_name(DAY), content)
    assert shelf.get(lake, DAY) is None


def test_reports_are_found_by_their_days_and_their_neighbours(lake: LakeStore) -> None:
    for back in (0, 3, 4):
        report = plain_report(DAY - timedelta(days=back))
        shelf.put(lake, report, "page")
    assert shelf.days(lake) == [DAY - timedelta(days=back) for back in (4, 3, 0)]
    before, after = shelf.neighbours(lake, DAY - timedelta(days=3))
    assert before is not None
    assert after is not None
    assert (before.day, after.day) == (DAY - timedelta(days=4), DAY)
    assert shelf.neighbours(lake, DAY - timedelta(days=9))[0] is None


def test_days_without_data_are_marked_and_counted_in_words() -> None:
    found = volume("listens", "plays", [*range(1, 20), None, None, *range(22, 29)])
    drawn = charts.by_day(found, DAY)
    assert "1 to 28, on 2026-11-25 28; 2 days without data" in drawn
    assert drawn.count("<rect") == 28


def test_a_mean_is_of_the_days_that_are_known() -> None:
    found = volume("listens", "plays", [10, None, 4, None, 8, None, None, None, 30])
    assert (found.count, found.week_before, found.usual) == (30, None, 6.0)
    unknown = volume("listens", "plays", [None] * 9)
    assert (unknown.count, unknown.usual) == (None, None)


@pytest.mark.parametrize(
    ("say", "given_", "said"),
    [
        (words.number, (1_234_567,), "1,234,567"),
        (words.number, (3.25,), "3.2"),
        (words.number, (1234.5,), "1,234"),
        (words.number, (None,), "-"),
        (words.change, (150, 100), "+50 %"),
        (words.change, (97, 100), "-3.0 %"),
        (words.change, (5, 0), "was 0"),
        (words.change, (0, 0), "same"),
        (words.change, (1, None), "not known"),
        (words.stretch, (0.26,), "0.3 s"),
        (words.stretch, (59.96,), "1 min"),
        (words.stretch, (75,), "1 min 15 s"),
        (words.stretch, (7_500,), "2 h 5 min"),
        (words.stretch, (200_000,), "2 d 7 h"),
        (words.stretch, (-30,), "-30.0 s"),
        (words.size, (512,), "512 B"),
        (words.size, (1023.99 * 1024,), "1.0 MiB"),
        (words.size, (18_964_480,), "18.1 MiB"),
        (words.growth, (-2048,), "-2.0 KiB"),
        (words.growth, (2048,), "+2.0 KiB"),
        (words.growth, (None,), "not known"),
        (words.rate, (Rate(count=5, of=100, low=0.021, high=0.112),), "5.0 % (2.1 to 11 %)"),
        (words.rate, (Rate(count=0, of=0, low=0, high=1),), "-"),
        (words.many, (1, "run"), "1 run"),
        (words.many, (0, "day"), "no days"),
        (words.weekday, (DAY,), "Wednesday 2026-11-25"),
    ],
)
def test_numbers_are_told_with_separators_and_units(
    say: Callable[..., str], given_: tuple[object, ...], said: str
) -> None:
    assert say(*given_) == said


def test_a_sentence_in_backticks_is_code_and_nothing_else_is_markup() -> None:
    report = plain_report(DAY)
    shown = page.render(replace(report, namespace="<b>`x`</b>"), runbook="r")
    assert "&lt;b&gt;`x`&lt;/b&gt;" in shown


def test_the_documentation_names_every_field_of_the_json() -> None:
    told = set(re.findall(r"`(\w+)`", (Path(__file__).parents[3] / "docs/report.md").read_text()))

    def fields(kind: object) -> set[str]:
        if isinstance(kind, type) and is_dataclass(kind):
            hints = typing.get_type_hints(kind)
            return set(hints).union(*map(fields, hints.values()))
        return set().union(*map(fields, typing.get_args(kind)))

    # Of a rate and an interval the text tells.
    assert fields(Report) - told == set()
