"""An alert arrives once, at every channel, whatever becomes of a channel in between."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moovitamix.observe.channels import read_channels
from moovitamix.observe.outbox import LONGEST_PAUSE, MESSAGES_AN_HOUR, pause
from moovitamix_tests.observe.alerting.conftest import World
from moovitamix_tests.observe.alerting.receivers import HOOK_TOKEN, SECRETS, Hook, Mailbox

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def test_an_alert_arrives_once_at_every_channel(both: World, mailbox: Mailbox, hook: Hook) -> None:
    both.block(20)
    both.look()
    assert hook.titles == mailbox.titles
    assert hook.titles == [f"MoovitaMix [{both.warehouse.schema_name}]: 2026-11-20 is blocked"]
    for body in (*hook.bodies, *mailbox.bodies):
        assert "staged_listens.volume_usual" in body
        assert "docs/runbook.md#a-day-is-blocked" in body
    assert hook.messages[0]["type"] == "failure"
    for minutes in range(1, 60, 7):
        both.look(minutes * MINUTE)
    assert len(hook.messages) == len(mailbox.mails) == 1


def test_what_is_over_is_told_once_to_whom_it_was_told(
    both: World, mailbox: Mailbox, hook: Hook
) -> None:
    both.block(20)
    both.look()
    both.unblock()
    both.look(HOUR)
    both.look(2 * HOUR)
    assert len(hook.messages) == len(mailbox.mails) == 2
    assert hook.bodies[1] == (
        "OVER\n\n2026-11-20 is blocked: from 2026-11-22 10:30 UTC until 2026-11-22 11:30 UTC."
    )
    assert hook.messages[1]["type"] == "success"
    assert both.open == []


def test_what_comes_again_is_told_again(hooked: World, hook: Hook) -> None:
    for hours in range(0, 8, 4):
        hooked.block(20)
        hooked.look(hours * HOUR)
        hooked.unblock()
        hooked.look((hours + 1) * HOUR)
    assert ["OVER" in body for body in hook.bodies] == [False, True, False, True]


def test_a_channel_that_is_down_gets_it_when_it_is_back_and_the_other_one_at_once(
    both: World, mailbox: Mailbox, hook: Hook
) -> None:
    mailbox.down = True
    both.block(20)
    both.look()
    assert (len(hook.messages), len(mailbox.mails)) == (1, 0)
    assert any("did not take an alert" in sentence for sentence in both.told)
    both.look(MINUTE)  # too early to try again
    mailbox.down = False
    both.look(MINUTE + MINUTE / 2)
    assert mailbox.mails == []
    both.look(3 * MINUTE)
    both.look(4 * MINUTE)
    assert (len(hook.messages), len(mailbox.mails)) == (1, 1)
    assert "2026-11-20 is blocked" in mailbox.titles[0]


def test_what_began_and_ended_while_a_channel_was_down_is_told_as_one(
    hooked: World, hook: Hook
) -> None:
    hook.down = True
    hooked.block(20)
    hooked.look()
    hooked.unblock()
    hooked.look(MINUTE)
    hook.down = False
    hooked.look(HOUR)
    assert hook.titles == [
        f"MoovitaMix [{hooked.warehouse.schema_name}]: 2026-11-20 is blocked, over"
    ]
    assert hook.bodies == [
        "OVER\n\n2026-11-20 is blocked: from 2026-11-22 10:30 UTC until 2026-11-22 10:31 UTC."
    ]
    assert hook.messages[0]["type"] == "success"


def test_a_server_that_is_not_there_loses_nothing(world: World, hook: Hook) -> None:
    port = hook.port
    nowhere = World(
        world.warehouse,
        world.cache,
        tuple(read_channels(hook.url.replace(str(port), "1"))),
    )
    nowhere.block(20)
    nowhere.look()
    waiting = nowhere.rows("SELECT attempts, sent_at FROM alert_notices")
    assert waiting == [(1, None)]


def test_all_that_is_new_in_one_look_is_one_message(hooked: World, hook: Hook) -> None:
    hooked.block(*range(1, 6))
    hooked.look()
    assert hook.titles == [f"MoovitaMix [{hooked.warehouse.schema_name}]: 5 new"]
    assert all(f"2026-11-0{day} is blocked" in hook.bodies[0] for day in range(1, 6))


def test_a_flood_is_counted_and_not_told_line_by_line(hooked: World, hook: Hook) -> None:
    hooked.block(*range(1, 29))
    hooked.look()
    assert hook.titles == [f"MoovitaMix [{hooked.warehouse.schema_name}]: 28 new"]
    assert hook.bodies[0].count("is blocked") == 20
    assert "… and 8 more: `moovitamix alerts list`." in hook.bodies[0]


def test_the_rest_of_an_hour_is_gathered_into_one_message(hooked: World, hook: Hook) -> None:
    for day in range(1, MESSAGES_AN_HOUR + 6):
        hooked.block(day)
        hooked.look(day * MINUTE)
    assert len(hook.messages) == MESSAGES_AN_HOUR
    hooked.look(HOUR + 2 * MINUTE)
    assert len(hook.messages) == MESSAGES_AN_HOUR + 1
    assert hook.titles[-1].endswith(": 5 new")


def test_what_is_still_open_is_told_again_once_a_day(hooked: World, hook: Hook) -> None:
    hooked.block(20)
    hooked.look()
    for hours in range(1, 72):
        hooked.look(hours * HOUR)
    assert len(hook.messages) == 3
    assert "STILL OPEN" in hook.bodies[1]
    assert "since 2026-11-22 10:30 UTC" in hook.bodies[1]


def test_a_channel_that_is_new_is_told_what_is_open(world: World, hook: Hook) -> None:
    world.block(20)
    world.look()
    assert any("2026-11-20 is blocked" in sentence for sentence in world.told)
    with_hook = World(world.warehouse, world.cache, tuple(read_channels(hook.url)))
    with_hook.look(MINUTE)
    assert len(hook.messages) == 1


def test_without_a_channel_alerts_are_logged_once(world: World) -> None:
    world.block(20)
    world.look()
    world.look(MINUTE)
    world.unblock()
    world.look(2 * MINUTE)
    assert [sentence.partition(".")[0] for sentence in world.told] == [
        "2026-11-20 is blocked",
        "Over: 2026-11-20 is blocked",
    ]


@pytest.mark.parametrize("down", [False, True])
def test_secrets_of_urls_are_nowhere(
    both: World, mailbox: Mailbox, hook: Hook, caplog: pytest.LogCaptureFixture, *, down: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    mailbox.down = hook.down = down
    both.block(20)
    both.look()
    both.unblock()
    both.look(HOUR)
    written = both.rows("SELECT a::text FROM alerts a") + both.rows(
        "SELECT n::text FROM alert_notices n"
    )
    everything = "\n".join(
        [caplog.text, *both.told, *map(str, written), *hook.bodies, *mailbox.bodies]
    )
    assert both.told
    assert not [secret for secret in SECRETS if secret in everything]
    assert not [secret for secret in SECRETS if secret in repr(both.post)]


def test_urls_are_told_apart_also_where_one_holds_a_comma(hook: Hook) -> None:
    mail = "mailto://u:p@host?to=a@example.org,b@example.org"
    text = f" {hook.url} ,\n{mail},{hook.url}"
    assert [one.url for one in read_channels(text)] == [hook.url, mail]
    names = [one.name for one in read_channels(text)]
    assert [name.partition("-")[0] for name in names] == ["json", "mailto"]
    assert HOOK_TOKEN not in "".join(names)
    assert read_channels(None) == read_channels(" ,\n") == []


@given(st.integers(1, 10_000))
def test_pauses_grow_and_stay_within_an_hour(attempts: int) -> None:
    assert timedelta(minutes=1) < pause(attempts) <= pause(attempts + 1) <= LONGEST_PAUSE
