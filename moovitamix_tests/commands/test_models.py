"""`models …`, as one types it, and what `run` makes of it."""

from __future__ import annotations

import getpass
from dataclasses import replace
from io import StringIO
from typing import Any, cast

import click
import pytest
import redis
from rich.console import Console

from moovitamix import summary
from moovitamix.errors import NothingToDo
from moovitamix.ingest.lake import LakeStore
from moovitamix.main_job import MainJob
from moovitamix.recommend import artifacts, registry
from moovitamix.recommend.archive import DamagedArtifact
from moovitamix.recommend.champion import Champion
from moovitamix.recommend.criteria import Criterion
from moovitamix.recommend.gate import Decision
from moovitamix.resources import Warehouse
from moovitamix.serve.generations import key_of, read_current
from moovitamix.serve.publish import publish_generation
from moovitamix.settings import get_settings
from moovitamix_tests.commands.conftest import Command
from moovitamix_tests.serve.test_generations import publish as publish_lists
from moovitamix_tests.serve.world import World, load_catalogue, make_world

CRITERION = Criterion("users to judge by", "400", "at least 50", passed=True)
FIRST = Decision("better than popularity", "als", False, "It is.", criteria=(CRITERION,))
BETTER = Decision("better than the champion", "als", False, "It won.")
OLD_FIGURES: dict[str, Any] = {
    "figures": {"als": {"ndcg": {"value": 0.1, "low": 0.09, "high": 0.11}}}
}
FIGURES: dict[str, Any] = {
    "figures": {
        "discovery": {"candidate": {"ndcg": {"value": 0.2, "low": 0.19, "high": 0.21}}},
        "replay": {"candidate": {"ndcg": {"value": 0.4, "low": 0.39, "high": 0.41}}},
    },
    "differences": {"discovery": {"champion": {"value": 0.1, "low": 0.08, "high": 0.12}}},
}


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def trained(warehouse: Warehouse, lake: LakeStore, world: World) -> World:
    """Version 1, then 2 with another alpha, have been champions; 3 is a candidate."""
    load_catalogue(warehouse, world.catalogue)
    artifacts.store_matrix(lake, world.matrix, "p")
    model = world.champion.model
    decided: list[tuple[float, dict[str, Any], Decision | None]] = [
        (20.0, OLD_FIGURES, FIRST),
        (5.0, FIGURES, BETTER),
        (5.0, {}, None),
    ]
    with warehouse.connect() as connection:
        for number, (alpha, figures, decision) in enumerate(decided, start=1):
            version = registry.register(
                connection,
                run_id=f"r{number}",
                as_of=model.as_of,
                pull="p",
                matrix_fingerprint=model.matrix_fingerprint,
                parameters={
                    "als": {"factors": 8, "alpha": alpha, "regularization": 7.0},
                    "found": {"regularization": 100.0},  # more than thin data can stand
                },
                artifact=artifacts.store_model(lake, f"r{number}", model),
            ).version
            registry.record_evaluation(connection, version, figures, against=None)
            if decision:
                registry.promote(connection, version, decision)
    return world


def flat(text: str) -> str:
    return " ".join(text.split())


def test_before_the_first_training_it_is_said_what_trains(command: Command) -> None:
    assert "moovitamix run" in command("models", "list").output


@pytest.mark.usefixtures("trained")
def test_the_list_shows_each_version_with_its_own_figure_and_whether_its_files_are_there(
    command: Command, warehouse: Warehouse
) -> None:
    with warehouse.connect() as connection:
        connection.execute(
            "UPDATE model_versions SET artifact_removed_at = now() WHERE version = 1"
        )
    shown = flat(command("models", "list").output)
    assert "3 candidate 2026-11-22 not judged there" in shown
    assert "2 champion 2026-11-22 0.2000 better than the champion there" in shown
    assert "1 retired 2026-11-22 0.1000 better than popularity removed" in shown
    assert "Pinned" not in shown
    refused = command("models", "rollback")
    assert isinstance(refused.exception, NothingToDo)
    assert "retention" in str(refused.exception)


@pytest.mark.usefixtures("trained")
def test_a_version_is_shown_with_figures_criteria_and_who_promoted_it(command: Command) -> None:
    assert command("models", "rollback", "--by", "Zoë", "--reason", "Odd [lists].").exit_code == 0
    shown = flat(command("models", "show", "1").output)
    assert "als ndcg 0.1000 [0.0900, 0.1100]" in shown
    assert "users to judge by 400 at least 50 yes" in shown
    assert "als.alpha 20.0" in shown
    assert "als.regularization 100.0" in shown
    assert "als.regularization, as fitted 7.0" in shown
    assert "Rolled back to by Zoë from version 2: Odd [lists]." in shown
    assert "Promoted by the gate: better than popularity" in shown
    shown = flat(command("models", "show", "2").output)
    assert "discovery at 10 candidate" in shown
    assert shown.index("ndcg 0.2000") < shown.index("ndcg 0.4000")
    assert "candidate less champion: 0.1000 [0.0800, 0.1200]" in shown
    unknown = command("models", "show", "9").exception
    assert isinstance(unknown, NothingToDo)
    assert "models list" in str(unknown)


@pytest.mark.usefixtures("trained")
def test_two_versions_are_compared_by_what_differs_and_by_their_figures(
    command: Command, warehouse: Warehouse
) -> None:
    compared = command("models", "compare", "1", "2").output
    rows = [flat(line) for line in compared.splitlines()]
    assert "als.alpha 20.0 5.0" in rows
    assert not [row for row in rows if row.startswith("als.factors")]
    assert "discovery candidate ndcg 0.2000 [0.1900, 0.2100]" in rows
    assert "different days" not in compared
    assert "differ by their data" in command("models", "compare", "2", "3").output
    with warehouse.connect() as connection:
        connection.execute("UPDATE model_versions SET as_of = as_of - 1 WHERE version = 1")
    assert "different days" in flat(command("models", "compare", "1", "2").output)
    assert command("models", "compare", "1", "1").exit_code == click.UsageError.exit_code


@pytest.mark.usefixtures("trained")
def test_a_rollback_pins_until_it_is_unpinned(command: Command, warehouse: Warehouse) -> None:
    told = command("models", "rollback").output
    assert "Version 1 is the champion again, instead of version 2" in told
    assert "moovitamix run" in told
    assert "models unpin" in told
    assert "Pinned" in command("models", "list").output
    with warehouse.connect() as connection:
        by = connection.execute("SELECT decided_by FROM model_decisions ORDER BY id DESC LIMIT 1")
        assert by.fetchone() == (getpass.getuser(),)
    assert command("models", "unpin").exit_code == 0
    assert "Pinned" not in command("models", "list").output
    assert isinstance(command("models", "unpin").exception, NothingToDo)


def test_a_rollback_serves_the_predecessors_lists_at_once_where_they_are_whole(
    command: Command, valkey: redis.Redis, warehouse: Warehouse, trained: World
) -> None:
    assert trained
    prefix = warehouse.schema_name
    before, newest = (publish_lists(valkey, version, prefix) for version in (1, 2))
    told = command("models", "rollback").output
    served = read_current(valkey, prefix)
    assert served is not None
    assert served.name == before.name
    assert before.name in told
    listed = command("generations", "list").output
    assert before.name in listed
    assert newest.name in listed
    assert command("generations", "switch", newest.name).exit_code == 0
    valkey.delete(key_of(prefix, before.name, "u", 1))
    refused = command("generations", "switch", before.name).exception
    assert isinstance(refused, NothingToDo)
    assert "1 of 2501 keys are gone" in str(refused)
    assert isinstance(command("generations", "switch", "v9").exception, NothingToDo)


def test_generations_are_renewed_by_hand_too(command: Command, valkey: redis.Redis) -> None:
    assert "empty" in command("generations", "list").output
    assert isinstance(command("generations", "renew").exception, NothingToDo)
    publish_lists(valkey, 1, get_settings().namespace)
    assert "nothing to renew yet" in " ".join(command("generations", "renew").output.split())


def test_what_cannot_be_loaded_is_not_promoted(
    command: Command, lake: LakeStore, trained: World
) -> None:
    lake.remove("recommend/models/run=r3")
    assert isinstance(command("models", "promote", "3").exception, DamagedArtifact)
    model = trained.champion.model
    artifacts.store_model(
        lake, "r3", replace(model, item_factors=model.item_factors * float("nan"))
    )
    refused = command("models", "promote", "3").exception
    assert isinstance(refused, NothingToDo)
    assert "not finite" in str(refused)
    assert "3 candidate" in flat(command("models", "list").output)


def test_what_is_promoted_by_hand_is_served_by_the_next_run(
    command: Command, warehouse: Warehouse, valkey: redis.Redis, trained: World
) -> None:
    def publish(version: int) -> None:
        champion: Champion = replace(trained.champion, version=version)
        publish_generation(
            valkey,
            warehouse.schema_name,
            champion=champion,
            matrix=trained.matrix,
            catalogue=trained.catalogue,
            tell=lambda _: None,
        )

    publish(2)
    with warehouse.connect() as connection:
        connection.execute(
            "INSERT INTO published_days (day, pull, run_id, published_at) "
            "VALUES (%s, 'p', 'r', '2020-01-01')",
            (trained.matrix.as_of,),
        )
    told = command("models", "promote", "3", "--by", "Zoë").output
    assert "Version 3 is the champion, after version 2." in told
    job = MainJob.__new__(MainJob)  # without Dagster, of which this decision needs nothing
    assert not job._is_served(3)
    told_at_the_end = Console(file=StringIO(), width=110)
    summary.print_model(told_at_the_end)  # version 3 has never been evaluated
    assert "Made the champion by hand" in cast("StringIO", told_at_the_end.file).getvalue()
    publish(3)
    assert job._is_served(3)
    command("models", "rollback")  # its lists are still in the cache
    assert job._is_served(2)


@pytest.mark.usefixtures("trained")
def test_a_rollback_is_done_and_says_so_when_the_mirror_is_down(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(command("models", "mirror").exception, NothingToDo)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    get_settings.cache_clear()
    told = " ".join(command("models", "rollback").output.split())
    assert "Version 1 is the champion again" in told
    assert "`moovitamix models mirror` tries again" in told
    assert command("models", "mirror").exit_code == 1
