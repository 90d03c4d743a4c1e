"""What is logged as lines: for people at a terminal, as JSON elsewhere, and discreet in both."""

import io
import json
import logging
import os
import pty
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from moovitamix.cli import cli
from moovitamix.errors import SettingsError, StoreUnavailable
from moovitamix.observe.logs import process
from moovitamix.observe.logs.__main__ import run
from moovitamix.observe.logs.lines import format_for
from moovitamix.observe.logs.pseudonyms import KEY_FILE, Pseudonyms, log_key
from moovitamix.settings import Settings, get_settings

SECRET = "ada@example.org"
DAY = date(2026, 11, 20)


@pytest.fixture(autouse=True)
def _undone() -> Iterator[None]:
    level = logging.getLogger("moovitamix").level
    yield
    process.detach()
    logging.getLogger("moovitamix").setLevel(level)


def fail() -> None:
    raise StoreUnavailable("Redis is down. Start it.") from ValueError(SECRET)


def written(monkeypatch: pytest.MonkeyPatch, form: str) -> str:
    """What a process writes that says a sentence and meets an error."""
    monkeypatch.setenv("MOOVITAMIX_LOG_FORMAT", form)
    get_settings.cache_clear()
    stream = io.StringIO()
    process.attach("api", stream=stream)
    log = logging.getLogger("moovitamix.serve")
    log.info("The lists of 2 users were brought up to date.", extra={"request_id": "r-1"})
    log.debug("too much")
    try:
        fail()
    except StoreUnavailable:
        log.exception("Request %s failed", "r-2", extra={"request_id": "r-2"})
    logging.getLogger("some.library").warning(f"Task failed\nValueError: {SECRET}")
    return stream.getvalue()


def test_lines_of_json_carry_level_sentence_and_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [json.loads(line) for line in written(monkeypatch, "json").splitlines()]
    assert [(one["level"], one["message"]) for one in told] == [
        ("INFO", "The lists of 2 users were brought up to date."),
        ("ERROR", "Request r-2 failed"),
        ("WARNING", "Task failed"),
    ]
    assert [one.get("request_id") for one in told] == ["r-1", "r-2", None]
    assert told[0]["logger"] == "moovitamix.serve"
    assert told[0]["at"].endswith("Z")
    assert "Redis is down. Start it." in told[1]["trace"]
    assert "ValueError" in told[1]["trace"]
    assert "in fail" in told[1]["trace"]


def test_lines_of_text_are_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    told = written(monkeypatch, "text")
    assert "INFO    The lists of 2 users were brought up to date. request_id=r-1\n" in told
    assert "ERROR   Request r-2 failed request_id=r-2\n" in told
    assert "moovitamix.errors.StoreUnavailable: Redis is down. Start it.\n" in told


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_line_holds_what_the_error_of_somebody_else_quotes(
    monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    assert SECRET not in written(monkeypatch, form)


def test_a_terminal_gets_text_and_everything_else_json_unless_it_is_set() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "w") as terminal:
        assert format_for("auto", terminal) == "text"
        assert format_for("json", terminal) == "json"
    assert format_for("auto", io.StringIO()) == "json"
    assert format_for("text", io.StringIO()) == "text"


def test_what_is_attached_again_does_not_say_everything_twice() -> None:
    first, second = io.StringIO(), io.StringIO()
    process.attach("api", stream=first)
    process.attach("api", stream=second)
    logging.getLogger("moovitamix").warning("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_an_address_that_is_none_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOOVITAMIX_GELF_URL", "gelf+tcp://logs:70000")
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match="MOOVITAMIX_GELF_URL"):
        process.attach("api")


def test_a_user_has_one_name_a_day_for_all_who_share_the_key_and_no_other() -> None:
    one, same, other = Pseudonyms(b"k" * 32), Pseudonyms(b"k" * 32), Pseudonyms(b"l" * 32)
    assert one.of(5, DAY) == same.of(5, DAY)
    names = {one.of(5, DAY), one.of(6, DAY), one.of(5, date(2026, 11, 21)), other.of(5, DAY)}
    assert len({*names, Pseudonyms().of(5, DAY), Pseudonyms().of(5, DAY)}) == 6


def test_the_command_tells_the_name_of_a_user_and_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOOVITAMIX_LOG_KEY", "k" * 32)
    get_settings.cache_clear()
    told = CliRunner().invoke(cli, ["users", "log-name", "5", "--date", str(DAY)]).output
    assert told.strip() == Pseudonyms(b"k" * 32).of(5, DAY)


def test_a_script_that_is_none_is_named_and_so_is_an_address_that_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SystemExit, match="no console script 'no-such-script'"):
        run(["no-such-script"])
    monkeypatch.setenv("MOOVITAMIX_GELF_URL", "gelf+tcp://logs:70000")
    get_settings.cache_clear()
    with pytest.raises(SystemExit, match="MOOVITAMIX_GELF_URL"):
        run(["moovitamix", "--help"])


def test_the_key_is_made_once_readable_by_its_owner_or_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path / "new")
    made = log_key(settings)
    assert len(made) == 32
    assert log_key(settings) == made
    assert (tmp_path / "new" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "new").iterdir()] == [KEY_FILE]
    monkeypatch.setenv("MOOVITAMIX_LOG_KEY", "a secret of sixteen or more")
    assert log_key(Settings(home=tmp_path / "new")) == b"a secret of sixteen or more"
