"""The access log keeps every line in order while it is read, and never more than a bit."""

from __future__ import annotations

import io
import json
import threading

import pytest

from moovitamix.serve.http import access
from moovitamix.serve.http.access import AccessLog, Line
from moovitamix.serve.http.routes import RECOMMENDATIONS


def line(number: int) -> Line:
    return Line(1e9, f"{number}", "GET", RECOMMENDATIONS, 200, "cached top-N", 1.5, "app", number)


def numbers(text: str) -> list[int]:
    return [int(json.loads(told)["request_id"]) for told in text.splitlines()]


@pytest.mark.parametrize("count", [1, 127, 128, 1_000])
def test_each_request_has_its_line_in_order(count: int) -> None:
    stream = io.StringIO()
    log = AccessLog(stream)
    for number in range(count):
        log.add(line(number))
    log.close()
    assert numbers(stream.getvalue()) == list(range(count))


def test_a_line_that_cannot_be_told_disturbs_no_request_and_no_other_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = io.StringIO()
    log = AccessLog(stream)
    broken = line(0)
    broken.at = float("inf")  # of which there is no day
    for one in (broken, *map(line, range(1, 300))):
        log.add(one)
    log.close()
    # Those that were put into words with it are lost.
    assert numbers(stream.getvalue())[-1] == 299
    assert "are lost" in caplog.text


class Slow(io.StringIO):
    """Takes nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let = threading.Event(), threading.Event()

    def writelines(self, *arguments: object) -> None:
        self.asked.set()
        assert self.let.wait(60)
        super().writelines(*arguments)  # type: ignore[arg-type]  # what it was given


def test_who_reads_too_slowly_loses_the_oldest_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access, "_WAITING", 3)
    stream = Slow()
    log = AccessLog(stream)
    log.add(line(0))
    assert stream.asked.wait(60)
    for number in range(1, 1_000):
        log.add(line(number))
    stream.let.set()
    log.close()
    found = numbers(stream.getvalue())
    kept = 3 * access._AT_ONCE["json"]
    assert found[0] == 0
    assert found[1:] == list(range(1_000 - len(found) + 1, 1_000))
    assert kept - access._AT_ONCE["json"] <= len(found) - 1 <= kept


class Gone(io.StringIO):
    """Nobody reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.tried = threading.Event()

    def flush(self) -> None:
        self.tried.set()
        raise BrokenPipeError


def test_where_nobody_reads_nothing_is_kept() -> None:
    stream = Gone()
    log = AccessLog(stream)
    log.add(line(0))
    assert stream.tried.wait(60)
    log._thread.join(60)
    for number in range(1_000):
        log.add(line(number))
    log.close()
    assert not log._pieces
    assert len(log._lines) < access._AT_ONCE["json"]
