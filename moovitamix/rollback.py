"""A rollback in all that it touches: the registry, what is served, an experiment that runs.

Who asks for it is the command `models rollback` or the console. What the registry records is told
in `recommend/succession.py`; the mirror is brought up to date by who asked, when it is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from moovitamix.errors import NothingToDo, StoreUnavailable
from moovitamix.recommend import artifacts, registry, soundness, succession
from moovitamix.serve.arms import withdraw_experiment
from moovitamix.serve.life import NotWhole, living, switch_to

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.recommend.registry import ModelVersion
    from moovitamix.resources import Cache, Warehouse
    from moovitamix.serve.generations import Generation


@dataclass(frozen=True)
class RolledBack:
    """What came of it.

    Attributes:
        champion: The version that is the champion again.
        instead_of: The version that was; None where there was none.
        served: Its lists, which are served at once; None: the next publication brings them.
        experiment_fault: Why an experiment may still be served.
    """

    champion: ModelVersion
    instead_of: int | None
    served: Generation | None
    experiment_fault: str | None


def roll_back(
    warehouse: Warehouse,
    lake: LakeStore,
    cache: Cache,
    *,
    decided_by: str,
    reason: str | None = None,
    seen: int | None = None,
) -> RolledBack:
    """Make the champion's predecessor the champion, pin it, and serve its lists where they are.

    Args:
        warehouse: With the registry.
        lake: With the version's files, which are read first.
        cache: With the lists.
        decided_by: Who.
        reason: In their words.
        seen: The champion that whoever decides has seen: of another one nothing is undone.

    Raises:
        NothingToDo: When there is no predecessor, its files are gone or not sound, or another
            version than was seen is the champion.
        StoreUnavailable: When Postgres or the lake does not answer; nothing was changed.
    """
    with warehouse.connect() as connection:
        wanted = succession.predecessor(connection)
        if wanted is not None:
            refuse_unsound(lake, wanted)
        registry.lock(connection)
        left = registry.champion(connection)
        if seen is not None and (left is None or left.version != seen):
            raise NothingToDo(
                f"Version {seen} is not the champion any more: look again before you decide."
            )
        champion = succession.roll_back(connection, decided_by, reason)
    fault = end_served_experiment(cache)
    return RolledBack(
        champion, left.version if left else None, serve_again(cache, champion.version), fault
    )


def refuse_unsound(lake: LakeStore, version: ModelVersion) -> None:
    """Read the files of a version before it is served: a promotion must not take lists away.

    Raises:
        NothingToDo: When the model is not sound.
        StoreUnavailable: When its files are damaged or gone.
    """
    if version.artifact_removed_at is not None:
        return  # the registry refuses it, and says what to do
    faults = soundness.model_faults(artifacts.load_model(lake, version.artifact))
    if faults:
        raise NothingToDo(
            f"The model of version {version.version} is not sound: {'; '.join(faults)}. "
            "`moovitamix models list` shows the others."
        )


def end_served_experiment(cache: Cache) -> str | None:
    """After another champion: answer everybody from what is current; why that was not heard.

    Where Redis does not hear it, the next publication does it, and what is current of another
    version ends it for readers too.
    """
    try:
        with cache.connect() as client:
            withdraw_experiment(client, cache.prefix)
    except StoreUnavailable as error:
        return str(error)
    return None


def serve_again(cache: Cache, version: int) -> Generation | None:
    """Serve the newest whole generation of a model version; None where none is to be had."""
    try:
        with cache.connect() as client:
            for one in living(client, cache.prefix):
                if one.model_version == version:
                    return switch_to(client, cache.prefix, one)
    except (StoreUnavailable, NotWhole):
        pass  # the next publication serves it
    return None
