"""Which files of models, matrices and features stay in the lake, and the removal of the others.

Rows of the registry stay for ever: a version whose files are gone is marked, not deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from moovitamix.recommend import artifacts, experiments, registry, succession
from moovitamix.recommend.registry import ModelVersion

if TYPE_CHECKING:
    from moovitamix.ingest.lake import LakeStore
    from moovitamix.resources import Warehouse

# A file younger than this may be that of a training or a run that is still under way.
_UNFINISHED = timedelta(days=1)

_MARK = """
UPDATE model_versions SET artifact_removed_at = now()
WHERE artifact_removed_at IS NULL AND version = ANY(%s)
"""


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """What is kept besides the champion, its predecessor and what is current.

    Attributes:
        versions: So many of the newest versions.
        age: Whatever is younger.
    """

    versions: int
    age: timedelta


def configured_rule() -> RetentionRule:
    """The rule that the settings ask for."""
    from moovitamix.settings import get_settings

    settings = get_settings()
    return RetentionRule(settings.keep_versions, timedelta(days=settings.keep_days))


def outdated(
    versions: Sequence[ModelVersion],
    rule: RetentionRule,
    *,
    protected: Iterable[int],
    now: datetime,
) -> list[ModelVersion]:
    """The versions whose files may go. Pure.

    Args:
        versions: All of the registry, newest first.
        rule: What is kept.
        protected: Versions that are kept whatever the rule says.
        now: In UTC, by the clock of the registry.
    """
    kept = {*protected, *(one.version for one in versions[: rule.versions])}
    return [one for one in versions if one.version not in kept and now - one.created_at > rule.age]


def remove_old(warehouse: Warehouse, lake: LakeStore, rule: RetentionRule) -> int:
    """Mark the versions that the rule no longer keeps, then remove their files and stale ones.

    Kept beside the rule: the champion (which is what a rollback pins), its predecessor, the
    challenger of an experiment that runs, the current matrix and features, and the matrices that
    kept versions were fitted to. What nobody has registered, left by a training that was killed,
    goes when it is older than the rule's age.

    A version is marked before its files go, so that nobody promotes it in between; killed
    half-way, the next call removes the rest.

    Returns:
        How many files were removed.

    Raises:
        OSError: When the lake refuses.
    """
    with warehouse.connect() as connection:
        registry.lock(connection)
        versions = registry.history(connection)
        before = succession.predecessor(connection)
        protected = {one.version for one in versions if one.status == "champion"}
        if before is not None:
            protected.add(before.version)
        tried = experiments.running(connection)
        if tried is not None:
            protected.add(tried.challenger)
        gone = outdated(versions, rule, protected=protected, now=datetime.now(UTC))
        connection.execute(_MARK, ([one.version for one in gone],))
    lost = {one.version for one in gone}
    lost |= {one.version for one in versions if one.artifact_removed_at is not None}
    kept = [one for one in versions if one.version not in lost]
    stale = _files_of([one for one in versions if one.version in lost], lake)
    stale |= _unclaimed(lake, kept, max(rule.age, _UNFINISHED))
    for name in sorted(stale):
        lake.remove(name)
    return len(stale)


def _files_of(versions: Sequence[ModelVersion], lake: LakeStore) -> set[str]:
    folders = {one.artifact for one in versions}
    return {name for name in lake.names(artifacts.MODELS) if _folder(name) in folders}


def _unclaimed(lake: LakeStore, kept: Sequence[ModelVersion], age: timedelta) -> set[str]:
    """Old files that neither a kept version nor a pointer names."""
    folders = {one.artifact for one in kept}
    fingerprints = {one.matrix_fingerprint for one in kept}
    current = artifacts.current_names(lake)
    found = {name for name in lake.names(artifacts.MODELS) if _folder(name) not in folders}
    for name in (*lake.names(artifacts.MATRICES), *lake.names(artifacts.FEATURES)):
        if name not in current and not artifacts.is_matrix_of(name, fingerprints):
            found.add(name)
    before = datetime.now(UTC) - age
    return {name for name in found if lake.modified(name) < before}


def _folder(name: str) -> str:
    return name.rpartition("/")[0]
