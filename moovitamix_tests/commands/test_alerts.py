"""`alerts list` and `alerts send-test`, and what `config` and `doctor` say of channels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from moovitamix.errors import MoovitaMixError, NothingToDo
from moovitamix.observe.channels import read_channels
from moovitamix.resources import Warehouse
from moovitamix.settings import get_settings
from moovitamix_tests.commands.conftest import Command
from moovitamix_tests.observe.alerting.receivers import SECRETS, Hook, Mailbox, mail_server, webhook


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as running:
        yield running


@pytest.fixture
def hook() -> Iterator[Hook]:
    with webhook() as running:
        yield running


def use(monkeypatch: pytest.MonkeyPatch, *urls: str) -> list[str]:
    """Configure channels; their names."""
    monkeypatch.setenv("MOOVITAMIX_ALERT_URLS", " ".join(urls))
    get_settings.cache_clear()
    return [channel.name for channel in read_channels(" ".join(urls))]


def test_a_test_message_goes_to_every_channel_and_each_is_told_of(
    command: Command, monkeypatch: pytest.MonkeyPatch, mailbox: Mailbox, hook: Hook
) -> None:
    assert isinstance(command("alerts", "send-test").exception, NothingToDo)
    mail, web = use(monkeypatch, mailbox.url, hook.url)
    done = command("alerts", "send-test")
    assert done.exit_code == 0, done.output
    assert (len(mailbox.mails), len(hook.messages)) == (1, 1)
    assert f"{mail}: taken" in done.output
    assert f"{web}: taken" in done.output

    mailbox.down = True
    failed = command("alerts", "send-test")
    assert isinstance(failed.exception, MoovitaMixError)
    assert f"✗ {mail}: " in failed.output
    assert f"✓ {web}: taken" in failed.output
    assert not [secret for secret in SECRETS if secret in done.output + failed.output]


def test_channels_are_named_and_their_urls_never_shown(
    command: Command, monkeypatch: pytest.MonkeyPatch, hook: Hook
) -> None:
    slack = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops"
    names = use(monkeypatch, hook.url, slack)
    told = command("config").output + command("doctor").output
    assert all(name in told for name in names)
    assert not [part for part in (*SECRETS, "TIiajkdnl", "A1BRTD4JD") if part in told]


def test_a_url_that_nobody_understands_is_told_by_the_doctor(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = use(monkeypatch, "carrier-pigeon://s3cret")
    examined = command("doctor")
    assert examined.exit_code == 1
    told = " ".join(examined.output.split())
    assert f"Apprise does not understand {name}" in told
    assert "s3cret" not in told


def test_alerts_are_listed_open_ones_first(command: Command, warehouse: Warehouse) -> None:
    assert "There has been no alert" in command("alerts", "list").output
    with warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO alerts (key, kind, severity, title, text, runbook, first_seen, last_seen, "
            "resolved_at) VALUES "
            "('a', 'day_late', 'warning', 'Past', 'x', 'a-day-is-late', now(), now(), now()), "
            "('b', 'day_late', 'warning', 'Present', 'y', 'a-day-is-late', now(), now(), NULL)"
        )
    told = command("alerts", "list").output
    assert told.index("Present") < told.index("Past")
    assert "docs/runbook.md#a-day-is-late" in told
