"""`users erase`, as one types it."""

from __future__ import annotations

import pytest
import redis

from moovitamix.ingest.lake import LakeStore
from moovitamix.resources import Warehouse
from moovitamix_tests.commands.conftest import Command
from moovitamix_tests.peopled import HER, HER_WORDS, make_peopled
from moovitamix_tests.reference_source import ReferenceSource


def test_users_are_erased_when_that_is_confirmed_and_once_more_does_nothing(
    command: Command,
    warehouse: Warehouse,
    lake: LakeStore,
    valkey: redis.Redis,
    source: ReferenceSource,
) -> None:
    peopled = make_peopled(warehouse, lake, valkey, source)
    before = peopled.contents()
    refused = command("users", "erase", str(HER), answer="n\n")
    assert refused.exit_code == 1
    assert "1 users" in refused.output
    assert "cannot be undone" in refused.output
    assert peopled.contents() == before

    told = command("users", "erase", str(HER), "2", answer="y\n")
    assert told.exit_code == 0, told.output
    assert "Erase 2 users?" in told.output
    assert "2 users" in told.output
    assert "The source still has them" in told.output
    assert not [word for word in HER_WORDS[:3] if word in told.output]
    assert peopled.mentions() == []
    assert [row[0] for row in peopled.contents()["users"]] == [1, *range(3, 9)]

    again = command("users", "erase", str(HER))
    assert again.exit_code == 0, again.output
    assert "Nothing was left to erase" in again.output


@pytest.mark.usefixtures("valkey")
def test_nobody_is_erased_where_nobody_is(command: Command, lake: LakeStore) -> None:
    told = command("users", "erase", "1")
    assert told.exit_code == 0, told.output
    assert "There is nothing of them" in told.output
    assert "no pull" in told.output
    assert lake.names("") == ["erasure/key"]
