"""Whatever is logged becomes a message of GELF 1.1."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.errors import SettingsError
from moovitamix.observe.logs.address import Address, read_address
from moovitamix.observe.logs.gelf import Entry, encode, syslog_level
from moovitamix_tests.observe.logs.receiver import faults_of

# Half surrogate pairs too: names of files may hold them.
_TEXT = st.text(st.characters(exclude_categories=()))
_FIELDS = st.dictionaries(
    st.one_of(_TEXT, st.sampled_from(["id", "_id", "run", "a.b-c"])),
    st.one_of(_TEXT, st.integers(), st.floats(), st.booleans()),
)


@given(
    entry=st.builds(
        Entry,
        at=st.floats(0, 4e9),
        level=st.integers(0, 100),
        message=_TEXT,
        full=_TEXT,
        fields=_FIELDS,
    ),
    host=st.sampled_from(["", "node-1"]),
    static=_FIELDS,
)
def test_any_entry_is_a_message_of_gelf_that_only_its_end_cuts(
    entry: Entry, host: str, static: dict[str, str | int | float]
) -> None:
    message = encode(entry, host, static)
    assert message.index(b"\0") == len(message) - 1
    assert faults_of(json.loads(message[:-1])) == []


def test_what_is_said_stays_what_it_was() -> None:
    entry = Entry(
        at=1_795_000_000.1234,
        level=logging.WARNING,
        message="Zwölf Tage\0 fehlen",
        full="more\nof it",
        fields={"run": "r1", "rows": 3, "seconds": 0.25, "passed": False, "id": "x"},
    )
    assert json.loads(encode(entry, "node-1", {"service": "run", "run": "r0"})[:-1]) == {
        "version": "1.1",
        "host": "node-1",
        "short_message": "Zwölf Tage\0 fehlen",
        "full_message": "more\nof it",
        "timestamp": 1_795_000_000.123,
        "level": 4,
        "_service": "run",
        "_run": "r1",
        "_rows": 3,
        "_seconds": 0.25,
        "_passed": "false",
        "_id_": "x",
    }


@pytest.mark.parametrize(
    ("level", "number"),
    [(5, 7), (10, 7), (19, 7), (20, 6), (25, 6), (30, 4), (40, 3), (50, 2), (99, 2)],
)
def test_levels_are_syslogs(level: int, number: int) -> None:
    assert syslog_level(level) == number


def test_what_would_not_be_indexed_is_cut() -> None:
    entry = Entry(
        at=0, level=20, message="é" * 90_000, full="x" * 90_000, fields={"a": "é" * 9_000}
    )
    message = json.loads(encode(entry, "h", {})[:-1])
    assert len(message["_a"].encode()) < 32_766
    assert message["_a"].endswith("…")
    assert len(message["short_message"]) < len(message["full_message"]) < 90_000


def test_an_address_has_a_host_and_perhaps_a_port() -> None:
    assert read_address("gelf+tcp://logs") == Address("logs", 12201, tls=False)
    assert read_address("gelf+tls://[::1]:99") == Address("::1", 99, tls=True)
    assert str(read_address("gelf+tls://logs:99")) == "gelf+tls://logs:99"


@pytest.mark.parametrize(
    "url",
    ["gelf+udp://logs", "logs:12201", "gelf+tcp://", "gelf+tcp://logs:x", "gelf+tcp://logs/a"],
)
def test_what_is_no_address_says_how_to_write_one(url: str) -> None:
    with pytest.raises(SettingsError, match=r"gelf\+tcp://host:12201"):
        read_address(url)


@pytest.mark.parametrize(
    "broken",
    [
        {"version": "1.0"},
        {"host": ""},
        {"short_message": ""},
        {"level": 8},
        {"_id": "x"},
        {"_a b": "x"},
        {"run": "x"},
        {"_run": None},
        {"_run": True},
        {"_run": {"a": 1}},
        {"timestamp": "now"},
    ],
)
def test_the_receiver_finds_what_is_no_gelf(broken: dict[str, object]) -> None:
    sound = {"version": "1.1", "host": "h", "short_message": "m", "timestamp": 1.5, "level": 6}
    assert faults_of(sound) == []
    assert faults_of({**sound, **broken}) != []
