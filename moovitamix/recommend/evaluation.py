"""What an evaluation is asked and what it has found: rules, figures, and both as JSON.

How the figures come about is told in `evaluate.py`; what follows from them, in `gate.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import date
from typing import Any

from moovitamix.recommend import rankers
from moovitamix.recommend.metrics import Figure
from moovitamix.recommend.rankers import TASKS
from moovitamix.recommend.release_evaluation import ReleaseFigures
from moovitamix.recommend.split import SplitName

Figures = dict[str, dict[str, dict[str, Figure]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRules:
    """What is asked of an evaluation.

    Attributes:
        k: Length of the lists that decide.
        longer_k: Length of the lists that are shown beside them.
        test_days: So many last days are the test.
        minimum_users: Fewer users in the test cannot tell anything.
        new_track_days: A track first heard so many days before the end of the past is new.
        own_plays_half_life_days: After so many days a play counts half for the baseline of own
            plays; between the best on two sets, see docs/model.md.
        ease_regularization: λ of EASE; the best of three on the demonstration world.
        ease_tracks: EASE is left out where the past has more tracks. Its time grows with their
            cube: 2,000 take some 0.6 s, 3,816 took 4.3 s.
        resamples: Of the bootstrap; a thousand settle two digits of an interval.
        seed: Of the bootstrap, and of the unheard cells of the RMSE.
    """

    k: int = 10
    longer_k: int = 20
    test_days: int = 7
    minimum_users: int = 50
    new_track_days: int = 14
    own_plays_half_life_days: float = 7.0
    ease_regularization: float = 300.0
    ease_tracks: int = 2_000
    resamples: int = 1000
    seed: int = 20260901


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Figures of rankers on the same users, tracks and future.

    Two tasks: "discovery", what a user had heard is out of the lists, relevant is what was new to
    the user; "replay", it is in, relevant is all that was heard. A per-user hold-out has no
    replay: by its making, nothing that was heard before is heard again.

    Attributes:
        split: How past and future were divided.
        as_of: The last day of the data.
        cut_off: First moment of the future, ISO 8601 in UTC; None without one.
        rules: What was asked for.
        users: How many users discovery was judged by: with a past, and a discovery in the future.
        discoveries: Their relevant pairs of user and track.
        replay_users: As `users`, with any known track in the future.
        replays: Their relevant pairs.
        unreachable: Pairs left out because nobody had heard their track before.
        training_users: Users of the past.
        catalogue: Tracks of the past: all of them were ranked.
        training_plays: Plays of the past.
        test_plays: Plays of the future.
        cold_users: Share of the users of the future who have no past; no model of plays knows them.
        cold_tracks: Share of the tracks of the future that nobody had heard.
        fresh_days: Days of the future that neither the champion in production nor what was fitted
            for this evaluation had seen; none of a per-user hold-out.
        figures: By task, ranker and measure; at rules.k the name is bare ("ndcg"), at
            rules.longer_k it says so ("ndcg@20"). Empty by task when nobody could be judged by.
        differences: By task and ranker: NDCG at rules.k of the candidate less that ranker's,
            paired by user.
        segments: By task, segment and ranker: NDCG at rules.k.
        rmse: By model, and for "all zeros": see `prediction_error.py`. Decides nothing.
        releases: Of the candidate's places for new releases; None where it was not asked for.
    """

    split: SplitName
    as_of: date
    cut_off: str | None
    rules: EvaluationRules
    users: int
    discoveries: int
    replay_users: int = 0
    replays: int = 0
    unreachable: int
    training_users: int
    catalogue: int
    training_plays: int
    test_plays: int
    cold_users: float = 0.0
    cold_tracks: float = 0.0
    fresh_days: int = 0
    figures: Figures = field(default_factory=lambda: {task: {} for task in TASKS})
    differences: dict[str, dict[str, Figure]] = field(
        default_factory=lambda: {task: {} for task in TASKS}
    )
    segments: Figures = field(default_factory=lambda: {task: {} for task in TASKS})
    rmse: dict[str, Figure] = field(default_factory=dict)
    releases: ReleaseFigures | None = None

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON-able values, for the registry."""
        return {**asdict(self), "as_of": self.as_of.isoformat()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Evaluation:
        """What `to_json` gave, of this version of the code or an earlier one."""
        told = _renamed(stored) if "difference" in stored else stored
        known = {item.name for item in fields(cls)}
        rules = {item.name for item in fields(EvaluationRules)}
        return cls(
            **{
                **{name: _figures(value) for name, value in told.items() if name in known},
                "as_of": date.fromisoformat(told["as_of"]),
                "releases": ReleaseFigures.from_json(told.get("releases")),
                "rules": EvaluationRules(
                    **{name: value for name, value in told["rules"].items() if name in rules}
                ),
            }
        )


def _renamed(stored: dict[str, Any]) -> dict[str, Any]:
    """Figures of the time when ALS was compared with popularity only, by discovery only."""
    names = {"als": rankers.CANDIDATE}
    figures = {names.get(name, name): measured for name, measured in stored["figures"].items()}
    gain = {rankers.POPULARITY: stored["difference"]} if stored["difference"] else {}
    return {
        **stored,
        "figures": {"discovery": figures, "replay": {}},
        "differences": {"discovery": gain, "replay": {}},
    }


def _figures(value: Any) -> Any:
    """Nested dicts with their figures as such."""
    if not isinstance(value, dict):
        return value
    if value.keys() == {"value", "low", "high"}:
        return Figure(**value)
    return {name: _figures(inner) for name, inner in value.items()}
