"""The stage in Dagster: three assets from one publication, and checks that find what is wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import redis
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from moovitamix.recommend.artifacts import store_matrix
from moovitamix.recommend.blend import BlendParameters
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.new_releases import ReleaseParameters
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.serve import assets, checks
from moovitamix.serve.arms import served_generations
from moovitamix.serve.codec import decode_list, encode_list
from moovitamix.serve.fold import Folding
from moovitamix.serve.fresh import read_own_plays
from moovitamix.serve.generations import Kind, current_key, key_of, read_current
from moovitamix.serve.recommender import Recommender
from moovitamix.settings import get_settings
from moovitamix_tests.serve.http.serving import fill
from moovitamix_tests.serve.telling import load_plays, tell
from moovitamix_tests.serve.tried import register_rivals, start
from moovitamix_tests.serve.world import AS_OF, NAMESPACE, World, plays

Fault = Callable[[redis.Redis, str], None]
Change = Callable[[NDArray[np.int64]], NDArray[np.int64]]

NEWEST = (checks.USERS, "newest_generation_is_current")
HIDER, HIDDEN = 40, 110


@pytest.fixture
def resources(
    valkey: redis.Redis, valkey_url: str, warehouse: Warehouse, world: World, tmp_path: Path
) -> dict[str, object]:
    """A warehouse and a lake in which a champion has been promoted, and an empty cache."""
    assert valkey.dbsize() == 0
    lake = Lake(url=(tmp_path / "lake").as_uri())
    fill(world, warehouse, lake)
    with warehouse.connect() as connection:
        connection.execute("INSERT INTO hides VALUES (%s, %s, now())", (HIDER, HIDDEN))
    return {
        "warehouse": warehouse,
        "lake": lake,
        "cache": Cache(url=valkey_url, namespace=NAMESPACE),
    }


def materialize(
    resources: dict[str, object], instance: dg.DagsterInstance
) -> dg.ExecuteInProcessResult:
    return dg.materialize([assets.generation], instance=instance, resources=resources)


def test_while_an_experiment_runs_both_arms_are_published_and_the_champion_stays_current(
    resources: dict[str, object], valkey: redis.Redis, warehouse: Warehouse, world: World
) -> None:
    lake = resources["lake"]
    assert isinstance(lake, Lake)
    rivals = register_rivals(world, warehouse, lake)
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(resources, instance)
        _, first = start(warehouse, lake, valkey, rivals.alike)
        result = materialize(resources, instance)
        served = served_generations(valkey, NAMESPACE)
        assert served["champion"].model_version == 1
        assert served["challenger"].model_version == rivals.alike
        assert served["challenger"].name != first.name
        told = result.asset_materializations_for_node("generation")[0].metadata["experiment"]
        assert served["challenger"].name in str(told.value)
        assert all(verdicts(resources, instance).values())


def verdicts(
    resources: dict[str, object], instance: dg.DagsterInstance
) -> dict[tuple[str, str], bool]:
    definitions = dg.Definitions(
        assets=[assets.generation],
        asset_checks=[checks.published_generation],
        resources=resources,
        jobs=[dg.define_asset_job("look", selection=dg.AssetSelection.all_asset_checks())],
    )
    result = definitions.resolve_job_def("look").execute_in_process(instance=instance)
    return {
        (found.asset_key.to_user_string(), str(found.check_name)): found.passed
        for found in result.get_asset_check_evaluations()
    }


def test_three_assets_tell_what_was_published(resources: dict[str, object]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(resources, instance)
    assert result.success
    told: dict[str, dict[str, Any]] = {
        event.materialization.asset_key.to_user_string(): {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
    }
    assert set(told) == {checks.USERS, checks.TRACKS, checks.POPULAR}
    users = told[checks.USERS]
    assert (users["keys"], users["users by als"], users["users by popularity"]) == (61, 60, 1)
    assert users["users by stated genres"] == 2
    assert (told[checks.TRACKS]["keys"], told[checks.POPULAR]["keys"]) == (40, 3)
    assert {metadata["generation"] for metadata in told.values()} == {"v1-2026-11-22-1"}
    assert users["bytes per list"] > 8


def test_what_was_published_is_served(resources: dict[str, object], valkey: redis.Redis) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(resources, instance)
    answer = Recommender(valkey, NAMESPACE).recommend(1)
    assert (answer.tier, answer.generation, len(answer.items)) == (
        "cached top-N",
        "v1-2026-11-22-1",
        20,
    )


def keep_places(resources: dict[str, object]) -> None:
    """140 to 149 are new, and the champion keeps places for what is."""
    warehouse = resources["warehouse"]
    assert isinstance(warehouse, Warehouse)
    share = ReleaseParameters(first=2, every=7)
    with warehouse.connect() as connection:
        connection.execute(
            "UPDATE tracks SET created_at = %s WHERE id >= 140", (AS_OF - timedelta(days=9),)
        )
        connection.execute(
            "UPDATE model_versions SET parameters = %s", (Jsonb({"releases": asdict(share)}),)
        )


@pytest.mark.parametrize("wanted", [True, False])
def test_new_releases_of_the_warehouse_are_published_unless_the_setting_says_no(
    resources: dict[str, object],
    valkey: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    wanted: bool,
) -> None:
    monkeypatch.setenv("MOOVITAMIX_NEW_RELEASES", str(wanted))
    get_settings.cache_clear()
    keep_places(resources)
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(resources, instance)
        found = verdicts(resources, instance)
    (users, *_) = result.get_asset_materialization_events()
    # Of 140 to 149, 141 is withdrawn.
    assert users.materialization.metadata["new releases"].value == (9 if wanted else 0)
    lists = [
        Recommender(valkey, NAMESPACE).recommend(user, repeats=repeats).items
        for user in range(1, 61)
        for repeats in (True, False)
    ]
    fresh = [item[1].track_id >= 140 for item in lists]
    assert any(fresh) == wanted
    assert found == dict.fromkeys(checks.CHECKS, True)


def test_every_check_passes_on_what_was_just_published(resources: dict[str, object]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(resources, instance)
        found = verdicts(resources, instance)
    assert found == dict.fromkeys(checks.CHECKS, True)


def test_every_asset_is_described_owned_kinded_grouped_and_checked() -> None:
    for spec in assets.generation.specs:
        assert spec.group_name == "serve"
        assert spec.description
        assert spec.owners == ["team:platform"]
        assert spec.kinds == {"redis"}
        assert {key.to_user_string() for key in (dep.asset_key for dep in spec.deps)} == {
            "champion_model",
            "user_item_matrix",
        }
        assert any(asset == spec.key.to_user_string() for asset, _ in checks.CHECKS)


@pytest.mark.parametrize("algorithm", ["als", "popularity"])
def test_checks_pass_under_either_algorithm(
    resources: dict[str, object], warehouse: Warehouse, algorithm: str
) -> None:
    with warehouse.connect() as connection:
        connection.execute("UPDATE model_versions SET algorithm = %s", (algorithm,))
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(resources, instance)
        found = verdicts(resources, instance)
    assert found == dict.fromkeys(checks.CHECKS, True)


def _lose_a_user(client: redis.Redis, generation: str) -> None:
    client.delete(key_of(NAMESPACE, generation, "u", 7))


def _shorten(client: redis.Redis, generation: str) -> None:
    _rewrite(client, generation, 7, lambda ids: ids[:5])


def _put_in_heard(client: redis.Redis, generation: str) -> None:
    _rewrite(client, generation, World.NEWCOMER, lambda ids: np.append(ids, 142))


def _put_in_withdrawn(client: redis.Redis, generation: str) -> None:
    _rewrite(client, generation, 7, lambda ids: np.append(ids, 141))


def _rewrite(
    client: redis.Redis, generation: str, user: int, change: Change, kind: Kind = "u"
) -> None:
    key = key_of(NAMESPACE, generation, kind, user)
    value = client.get(key)
    assert isinstance(value, bytes)
    ids = change(decode_list(value).ids)
    client.set(key, encode_list(ids, np.zeros(len(ids))), keepttl=True)


def _put_in_hidden(client: redis.Redis, generation: str) -> None:
    _rewrite(client, generation, HIDER, lambda ids: np.append(ids, HIDDEN), "r")


def _repeat_a_track(client: redis.Redis, generation: str) -> None:
    _rewrite(client, generation, 7, lambda ids: np.append(ids, ids[0]))


def _put_withdrawn_into_repeats(client: redis.Redis, generation: str) -> None:
    _rewrite(client, generation, 7, lambda ids: np.append(ids, 141), "r")


def _repeat_a_repeat(client: redis.Redis, generation: str) -> None:
    _rewrite(client, generation, 7, lambda ids: np.append(ids, ids[0]), "r")


def _lose_repeats(client: redis.Redis, generation: str) -> None:
    client.delete(key_of(NAMESPACE, generation, "r", 7))


def _halve_repeats(client: redis.Redis, generation: str) -> None:
    _score_anew(client, generation, "r", 7, lambda scores: scores * np.float32(0.5))


def _shorten_repeats(client: redis.Redis, generation: str) -> None:
    _rewrite(client, generation, 7, lambda ids: ids[:5], "r")


def _halve_cosines(client: redis.Redis, generation: str) -> None:
    _score_anew(client, generation, "t", 100, lambda scores: scores * np.float32(0.5))


def _name_another_track(client: redis.Redis, generation: str) -> None:
    """All scores are right, and one of them is that of another track, which can be played."""
    key = key_of(NAMESPACE, generation, "t", 100)
    value = client.get(key)
    assert isinstance(value, bytes)
    found = decode_list(value)
    assert World.NEVER_HEARD not in found.ids
    found.ids[-2] = World.NEVER_HEARD
    client.set(key, encode_list(found.ids, found.scores), keepttl=True)


def _halve_scores(client: redis.Redis, generation: str) -> None:
    _score_anew(client, generation, "u", 7, lambda scores: scores * np.float32(0.5))


def _score_anew(
    client: redis.Redis,
    generation: str,
    kind: Kind,
    owner: int,
    change: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> None:
    key = key_of(NAMESPACE, generation, kind, owner)
    value = client.get(key)
    assert isinstance(value, bytes)
    found = decode_list(value)
    client.set(key, encode_list(found.ids, change(found.scores)), keepttl=True)


def _serve_another_generation(client: redis.Redis, generation: str) -> None:
    """What is served has another name, and all else is right."""
    other = "v1-2026-11-22-9"
    for key in client.scan_iter(f"{NAMESPACE}:{generation}:*"):
        client.copy(key, key.replace(generation.encode(), other.encode()))
    meta = client.get(f"{NAMESPACE}:{other}:meta")
    assert isinstance(meta, bytes)
    client.set(f"{NAMESPACE}:{other}:meta", meta.replace(generation.encode(), other.encode()))
    client.set(current_key(NAMESPACE), other)


def _liken_to_itself(client: redis.Redis, generation: str) -> None:
    _rewrite(client, generation, 100, lambda ids: np.append(ids, 100), "t")


def _put_withdrawn_into_similar(client: redis.Redis, generation: str) -> None:
    _rewrite(client, generation, 100, lambda ids: np.append(ids, 141), "t")


def _repeat_a_similar(client: redis.Redis, generation: str) -> None:
    _rewrite(client, generation, 100, lambda ids: np.append(ids, ids[0]), "t")


def _put_withdrawn_into_popular(client: redis.Redis, generation: str) -> None:
    _rewrite(client, generation, 1, lambda ids: np.append(ids, 141), "p")


def _turn_a_genre_over(client: redis.Redis, generation: str) -> None:
    _score_anew(client, generation, "p", 1, lambda scores: scores[::-1])


def _damage_popular(client: redis.Redis, generation: str) -> None:
    client.set(key_of(NAMESPACE, generation, "p", "all"), b"", keepttl=True)


def _lose_a_genre(client: redis.Redis, generation: str) -> None:
    client.delete(key_of(NAMESPACE, generation, "p", 1))


def _damage_a_track(client: redis.Redis, generation: str) -> None:
    client.set(key_of(NAMESPACE, generation, "t", 100), b"", keepttl=True)


_FRESH = (checks.USERS, "lists_agree_with_fresh_ones")

_FRESH_REPEATS = (checks.USERS, "lists_with_repeats_agree_with_fresh_ones")
_FRESH_TRACKS = (checks.TRACKS, "lists_agree_with_fresh_ones")

# A list that holds what it must not is not what the rule gives either.
FAULTS_OF: dict[Fault, set[tuple[str, str]]] = {
    _serve_another_generation: {NEWEST},
    _lose_a_user: {(checks.USERS, "every_active_user_has_a_list")},
    _halve_scores: {_FRESH},
    _shorten: {(checks.USERS, "no_list_is_short_without_reason"), _FRESH},
    _put_in_heard: {(checks.USERS, "no_list_holds_what_was_heard"), _FRESH},
    _put_in_withdrawn: {(checks.USERS, "no_list_holds_a_withdrawn_track"), _FRESH},
    _put_in_hidden: {(checks.USERS, "no_list_holds_what_was_hidden")},
    _repeat_a_track: {(checks.USERS, "every_list_is_ranked"), _FRESH},
    _lose_repeats: {(checks.USERS, "every_known_user_has_a_list_with_repeats")},
    _halve_repeats: {_FRESH_REPEATS},
    _put_withdrawn_into_repeats: {
        (checks.USERS, "lists_with_repeats_can_be_played"),
        _FRESH_REPEATS,
    },
    _repeat_a_repeat: {(checks.USERS, "lists_with_repeats_are_ranked"), _FRESH_REPEATS},
    _damage_a_track: {(checks.TRACKS, "every_track_has_a_list")},
    _halve_cosines: {_FRESH_TRACKS},
    _liken_to_itself: {(checks.TRACKS, "no_track_is_similar_to_itself"), _FRESH_TRACKS},
    _put_withdrawn_into_similar: {
        (checks.TRACKS, "no_list_holds_a_withdrawn_track"),
        _FRESH_TRACKS,
    },
    _repeat_a_similar: {(checks.TRACKS, "every_list_is_ranked"), _FRESH_TRACKS},
    _damage_popular: {(checks.POPULAR, "popular_list_is_full")},
    _lose_a_genre: {(checks.POPULAR, "every_genre_has_a_list")},
    _put_withdrawn_into_popular: {(checks.POPULAR, "no_list_holds_a_withdrawn_track")},
    _turn_a_genre_over: {(checks.POPULAR, "every_list_is_ranked")},
}
_ALSO = {_FRESH, _FRESH_REPEATS, _FRESH_TRACKS}
FAULTS = [next(iter(found - _ALSO or found)) for found in FAULTS_OF.values()]

# Further faults of checks that have one already.
MORE_FAULTS: dict[Fault, set[tuple[str, str]]] = {
    _shorten_repeats: {_FRESH_REPEATS},
    _name_another_track: {_FRESH_TRACKS},
}


def failing(
    resources: dict[str, object], valkey: redis.Redis, fault: Fault
) -> set[tuple[str, str]]:
    """The checks that a published generation with this fault does not pass."""
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(resources, instance)
        served = read_current(valkey, NAMESPACE)
        assert served is not None
        fault(valkey, served.name)
        found = verdicts(resources, instance)
    return {check for check, passed in found.items() if not passed}


@pytest.mark.parametrize(
    "fault", FAULTS_OF | MORE_FAULTS, ids=lambda fault: getattr(fault, "__name__", "").strip("_")
)
def test_a_fault_in_the_cache_fails_its_check_and_no_other(
    resources: dict[str, object], valkey: redis.Redis, fault: Fault
) -> None:
    assert failing(resources, valkey, fault) == (FAULTS_OF | MORE_FAULTS)[fault]


def _halve_cosines_of_a_release(client: redis.Redis, generation: str) -> None:
    halved = np.float32(0.5)
    _score_anew(client, generation, "t", World.NEVER_HEARD, lambda scores: scores * halved)


def _damage_a_release(client: redis.Redis, generation: str) -> None:
    client.set(key_of(NAMESPACE, generation, "t", World.NEVER_HEARD), b"", keepttl=True)


def _lose_a_release(client: redis.Redis, generation: str) -> None:
    client.delete(key_of(NAMESPACE, generation, "t", World.NEVER_HEARD))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (_halve_cosines_of_a_release, _FRESH_TRACKS),
        (_damage_a_release, (checks.TRACKS, "every_track_has_a_list")),
        (_lose_a_release, (checks.TRACKS, "every_track_has_a_list")),
    ],
)
def test_a_fault_in_the_list_of_a_new_release_fails_the_check_of_similar_tracks(
    resources: dict[str, object], valkey: redis.Redis, fault: Fault, expected: tuple[str, str]
) -> None:
    keep_places(resources)
    assert failing(resources, valkey, fault) == {expected}


@pytest.fixture
def blended(resources: dict[str, object], warehouse: Warehouse, world: World) -> dict[str, object]:
    """The same with a champion by whose blend own plays count, and with the plays."""
    load_plays(warehouse, world)
    count_own_plays(warehouse, 2.0)
    return resources


def count_own_plays(warehouse: Warehouse, weight: float) -> None:
    with warehouse.connect() as connection:
        connection.execute(
            "UPDATE model_versions SET parameters = %s", (Jsonb({"blend": {"own_plays": weight}}),)
        )


def test_lists_of_another_blend_than_the_champions_are_found(
    blended: dict[str, object], warehouse: Warehouse
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(blended, instance)
        right = verdicts(blended, instance)
        count_own_plays(warehouse, 1.0)
        found = verdicts(blended, instance)
    assert right == dict.fromkeys(checks.CHECKS, True)
    assert [check for check, passed in found.items() if not passed] == [_FRESH_REPEATS]


def test_own_plays_that_came_late_are_no_fault_of_the_lists(
    blended: dict[str, object], warehouse: Warehouse, world: World
) -> None:
    folding = Folding.prepare(
        replace(world.champion, blend=BlendParameters(own_plays=2.0)),
        world.matrix,
        world.catalogue,
        None,
    )
    users = world.matrix.users
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(blended, instance)
        before = read_own_plays(warehouse, folding, users)
        tell(warehouse, 8, [120, 121])
        with warehouse.connect() as connection:
            connection.execute(
                "INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth) "
                "SELECT 7, track_id, listened_at, recorded_at, 2 FROM listen_history "
                "WHERE user_id = 7"
            )
        after = read_own_plays(warehouse, folding, users)
        found = verdicts(blended, instance)
    assert before.users.tolist() == users.tolist()
    assert after.users.tolist() == [user for user in users.tolist() if user != 7]
    assert found == dict.fromkeys(checks.CHECKS, True)


def test_with_nothing_served_every_check_fails(
    resources: dict[str, object], valkey: redis.Redis
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(resources, instance)
        valkey.delete(current_key(NAMESPACE))
        found = verdicts(resources, instance)
    assert found == dict.fromkeys(checks.CHECKS, False)


def test_a_generation_made_from_another_matrix_is_not_judged_by_this_one(
    resources: dict[str, object],
) -> None:
    lake = resources["lake"]
    assert isinstance(lake, Lake)
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(resources, instance)
        newer = build_matrix(plays({(1, 100), (2, 101)}), MatrixParameters(), AS_OF)
        store_matrix(lake.open(), newer, "p2")
        found = verdicts(resources, instance)
    assert found == {check: check == NEWEST for check in checks.CHECKS}


def test_a_failed_publication_materializes_nothing_and_the_old_one_stays(
    resources: dict[str, object], valkey: redis.Redis, warehouse: Warehouse
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(resources, instance)
        with warehouse.connect() as connection:
            connection.execute("UPDATE model_versions SET status = 'retired'")
        failed = dg.materialize(
            [assets.generation], instance=instance, resources=resources, raise_on_error=False
        )
    assert not failed.success
    assert failed.get_asset_materialization_events() == []
    served = read_current(valkey, NAMESPACE)
    assert served is not None
    assert served.name == "v1-2026-11-22-1"


def test_importing_the_stage_imports_neither_implicit_nor_scipy_nor_redis() -> None:
    script = (
        "import sys, moovitamix.serve.assets, moovitamix.serve.checks;"
        "print([name for name in ('implicit', 'scipy', 'redis') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
