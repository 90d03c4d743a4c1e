"""A platform whose logs go to a receiver on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from moovitamix.observe.logs import process
from moovitamix.settings import get_settings
from moovitamix_tests.observe.logs.receiver import Receiver


@pytest.fixture
def graylog(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Where this process ships to; what waits is sent, and all is undone, at the end."""
    with Receiver() as receiver:
        monkeypatch.setenv("MOOVITAMIX_GELF_URL", receiver.url)
        get_settings.cache_clear()
        yield receiver
        process.detach()
        process.close()
