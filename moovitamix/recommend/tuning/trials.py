"""The finished trials of a study, kept in the lake: what a killed tuning goes on from.

One small file a study, rewritten as a whole after each trial: it works on any lake, and there is
no lock that a killed process could leave behind.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from moovitamix.errors import SettingsError
from moovitamix.recommend import archive
from moovitamix.recommend.configuration import Configuration

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from moovitamix.ingest.lake import LakeStore

_FOLDER = "recommend/tuning"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTrial:
    """What came of one configuration.

    Attributes:
        point: In the space.
        configuration: With the number of iterations that was best.
        values: Mean NDCG by number of iterations; the value is the best of them.
        complete: False: given up on the way.
        gain: Mean NDCG less that of the first trial, by the same users; None where unknown.
        error: The standard error of the gain; None where unknown.
        seconds: How long it took.
    """

    point: dict[str, Any]
    configuration: Configuration
    values: dict[int, float]
    complete: bool
    gain: float | None
    error: float | None
    seconds: float

    @property
    def value(self) -> float:
        """The best mean NDCG; 0 when it was given up before the first one."""
        return max(self.values.values(), default=0.0)

    def frozen(self) -> FrozenTrial:
        """The trial as Optuna learns from it."""
        from optuna.trial import TrialState, create_trial

        from moovitamix.recommend.tuning.space import distributions

        return create_trial(
            state=TrialState.COMPLETE if self.complete else TrialState.PRUNED,
            value=self.value if self.complete else None,
            params=self.point,
            distributions=distributions(),
            intermediate_values=self.values,
        )


def load_trials(lake: LakeStore, study: str) -> list[FinishedTrial]:
    """The finished trials of a study, in order; none where there is no such study.

    Raises:
        DamagedArtifact: When the file cannot be read.
    """
    name = _name(study)
    if not lake.exists(name):
        return []
    try:
        return [_decoded(fields) for fields in json.loads(lake.read_bytes(name))]
    except (ValueError, KeyError, TypeError, AttributeError, SettingsError) as error:
        raise archive.damaged("record of a tuning", f"remove {name} ({error})") from error


def store_trials(lake: LakeStore, study: str, trials: list[FinishedTrial]) -> None:
    """Write the trials of a study; those of other studies go, they are of other data."""
    encoded = [
        {**asdict(trial), "configuration": trial.configuration.to_json()} for trial in trials
    ]
    if len(trials) == 1:
        lake.remove(_FOLDER)
    lake.write_bytes(_name(study), json.dumps(encoded).encode())


def _name(study: str) -> str:
    return f"{_FOLDER}/{study}.json"


def _decoded(fields: dict[str, Any]) -> FinishedTrial:
    return FinishedTrial(
        **{
            **fields,
            "configuration": Configuration.from_json(fields["configuration"]),
            "values": {int(step): value for step, value in fields["values"].items()},
        }
    )
