"""Champions by hand: rollback, pin and record, and a promotion that is killed at any moment."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from moovitamix.errors import NothingToDo
from moovitamix.recommend import artifacts, registry, succession, training
from moovitamix.recommend.champion import load_champion
from moovitamix.recommend.evaluation import EvaluationRules
from moovitamix.recommend.gate import Decision
from moovitamix.recommend.interactions import read_interactions
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.tuning.outcome import Budget
from moovitamix_tests.recommend.conftest import AS_OF, Platform, tasteful_plays
from moovitamix_tests.recommend.test_registry import promote, register, statuses

RULES = EvaluationRules(resamples=50)


@pytest.fixture
def three(platform: Platform) -> list[int]:
    """Three versions, each promoted by the gate after the one before."""
    versions = [register(platform, run).version for run in "abc"]
    for version in versions:
        promote(platform, version)
    return versions


def test_a_rollback_returns_to_the_predecessor_pins_it_and_is_recorded(
    platform: Platform, three: list[int]
) -> None:
    with platform.warehouse.connect() as connection:
        assert succession.pin(connection) is None
        assert succession.roll_back(connection, "Zoë", "Odd lists.").version == three[1]
    assert statuses(platform) == ["retired", "champion", "retired"]
    with platform.warehouse.connect() as connection:
        pinned = succession.pin(connection)
        entry, before = succession.decisions(connection)[:2]
    assert pinned == entry
    assert (entry.action, entry.version, entry.predecessor) == ("rollback", three[1], three[2])
    assert (entry.decided_by, entry.reason) == ("Zoë", "Odd lists.")
    assert (before.decided_by, before.reason) == (None, "better than popularity")


def test_rolled_back_twice_it_is_the_one_before_and_then_no_further(
    platform: Platform, three: list[int]
) -> None:
    for expected in (three[1], three[0]):
        with platform.warehouse.connect() as connection:
            assert succession.roll_back(connection, "Zoë").version == expected
    with (
        platform.warehouse.connect() as connection,
        pytest.raises(NothingToDo, match="models promote V"),
    ):
        succession.roll_back(connection, "Zoë")
    assert statuses(platform) == ["champion", "retired", "retired"]


def test_a_pin_holds_until_it_is_taken_off(platform: Platform, three: list[int]) -> None:
    with platform.warehouse.connect() as connection:
        with pytest.raises(NothingToDo, match="Nothing is pinned"):
            succession.unpin(connection, "Zoë")
        succession.roll_back(connection, "Zoë")
        succession.promote_by_hand(connection, three[2], "Kim")
        assert succession.pin(connection) is not None
        assert succession.unpin(connection, "Kim").decided_by == "Zoë"
        assert succession.pin(connection) is None
        champion = registry.champion(connection)
    assert champion is not None
    assert champion.version == three[2]


def test_what_is_promoted_by_hand_says_who_and_can_be_taken_back(
    platform: Platform, three: list[int]
) -> None:
    with platform.warehouse.connect() as connection:
        registry.record_verdict(
            connection, three[0], Decision("not sound", "als", False, "It is not.", promoted=False)
        )
        promoted = succession.promote_by_hand(connection, three[0], "Zoë", "A trial.")
        assert (promoted.status, promoted.verdict) == ("champion", "not sound")
        assert succession.decisions(connection)[0].decided_by == "Zoë"
        with pytest.raises(NothingToDo, match="is the champion"):
            succession.promote_by_hand(connection, three[0], "Zoë")
        assert succession.roll_back(connection, "Kim").version == three[2]


def test_a_version_whose_files_are_gone_is_not_made_champion(
    platform: Platform, three: list[int]
) -> None:
    with platform.warehouse.connect() as connection:
        connection.execute("UPDATE model_versions SET artifact_removed_at = now()")
        with pytest.raises(NothingToDo, match="MOOVITAMIX_KEEP_VERSIONS"):
            succession.roll_back(connection, "Zoë")
        with pytest.raises(NothingToDo, match="retention"):
            succession.promote_by_hand(connection, three[0], "Zoë")
    assert statuses(platform) == ["retired", "retired", "champion"]


# --- killed -----------------------------------------------------------------


@pytest.mark.parametrize("last_step", ["enter_decision", "record_verdict"])
def test_a_promotion_whose_process_is_killed_leaves_the_old_champion_and_can_be_done_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, last_step: str
) -> None:
    old, new = (register(platform, run).version for run in "ab")
    promote(platform, old)
    step = getattr(registry, last_step)

    def do_and_die(*arguments: object) -> None:
        step(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()  # the whole of the promotion is in it: a connection of its own, and the kill
    if child == 0:
        monkeypatch.setattr(registry, last_step, do_and_die)
        try:
            promote(platform, new)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert statuses(platform) == ["champion", "candidate"]
    with platform.warehouse.connect() as connection:
        assert [entry.version for entry in succession.decisions(connection)] == [old]
    promote(platform, new)  # the lock is free
    assert statuses(platform) == ["retired", "champion"]


class Killed(BaseException):
    """Ends a step as a kill does: nothing of ours catches it, and open transactions are lost."""


def train(platform: Platform, run_id: str) -> int:
    """The steps of a training one by one; the champion after it."""
    lake = platform.lake.open()
    plays = read_interactions(platform.warehouse, AS_OF)
    artifacts.store_matrix(lake, build_matrix(plays, MatrixParameters(), AS_OF), "p")
    training.fit_candidate(platform.warehouse, lake, run_id, Budget())
    training.evaluate_candidate(platform.warehouse, lake, run_id, RULES)
    return training.settle_candidate(platform.warehouse, run_id)[0].version


@pytest.mark.parametrize(
    ("champion_before", "again"),
    [(False, "same run"), (True, "next run")],
    ids=["first", "refresh"],
)
def test_whatever_step_a_training_is_killed_after_the_next_one_completes_it(
    platform: Platform,
    load: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    champion_before: bool,
    again: str,
) -> None:
    load(tasteful_plays(plays=4_000))
    expected = 0
    if champion_before:
        expected = train(platform, "before")
        with platform.warehouse.connect() as connection:
            connection.execute("DELETE FROM listen_history WHERE id % 40 = 0")
    steps = [
        (artifacts, "store_model"),
        (registry, "register"),
        (registry, "record_evaluation"),
        (registry, "record_verdict"),
    ]
    for number, (module, step) in enumerate(steps):
        original = getattr(module, step)

        def then_die(*arguments: object, _original: object = original, **named: object) -> None:
            _original(*arguments, **named)  # type: ignore[operator]
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(module, step, then_die)
            with pytest.raises(Killed):
                train(platform, "run" if again == "same run" else f"run {number}")
        # What was served goes on being served, from its artifact.
        with platform.warehouse.connect() as connection:
            champion = registry.champion(connection)
        assert (champion.version if champion else 0) == expected
        if champion:
            load_champion(platform.warehouse, platform.lake.open())
    repaired = train(platform, "run" if again == "same run" else "last run")
    assert repaired != expected
    assert statuses(platform).count("champion") == 1
    assert load_champion(platform.warehouse, platform.lake.open()).version == repaired
