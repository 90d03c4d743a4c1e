"""What is right and wrong about a kept pull: pure judgements on its counts.

Reading them and telling Dagster are the business of `checks.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, timedelta

from moovitamix.ingest.pulls import EndpointCounts, Pull
from moovitamix.ingest.tally import Tally
from moovitamix.warehouse.collapse import Missing

# A few broken records are bad luck and wait in quarantine; more means that the source changed.
REJECTED_SHARE_ALLOWED = 0.02

# Somebody listens every day; three days also forgive a small app, and a source that hands over its
# listens once a day.
FRESH_WITHIN = timedelta(days=3)


@dataclass(frozen=True)
class Judgement:
    """Whether all is well, and the figures that show it: counts and moments, no values."""

    passed: bool
    figures: dict[str, int | str | dict[str, int]] = field(default_factory=dict)


def keeps_the_contract(counts: EndpointCounts) -> Judgement:
    """Whether few enough of an endpoint's records were rejected."""
    return Judgement(
        counts.rejected <= REJECTED_SHARE_ALLOWED * max(counts.distinct, 1),
        {"records": counts.distinct, "rejected": counts.rejected},
    )


def has_fields_as_declared(counts: EndpointCounts) -> Judgement:
    """Whether the records have no field beyond the contract."""
    return Judgement(
        not counts.unknown_fields,
        {"records": counts.distinct, "unknown_fields": counts.unknown_fields},
    )


def is_fresh(pull: Pull, counts: EndpointCounts) -> Judgement:
    """Whether the newest record is not much older than the pull.

    Without a newest one it passes: there is no record at all, or an earlier version pulled.
    """
    if counts.newest is None:
        return Judgement(True)
    age = max(pull.began - counts.newest, timedelta(0))
    return Judgement(
        age <= FRESH_WITHIN,
        {
            "newest_record": counts.newest.replace(tzinfo=UTC).isoformat(timespec="minutes"),
            "hours_before_the_pull": age // timedelta(hours=1),
        },
    )


def adds_up(counted: Tally) -> Judgement:
    """Whether manifests, indexes and files say the same."""
    return Judgement(
        counted.adds_up,
        {
            "records": counted.distinct,
            "accounted_for": counted.accounted,
            "stored": counted.stored,
            "indexed": counted.indexed,
            "rejected": counted.rejected,
            "rejected_on_file": counted.set_aside,
            "dealt_to_these_days": counted.dealt,
            "on_file_of_these_days": counted.held,
            "files_that_differ": counted.short,
        },
    )


def is_whole(missing: Missing) -> Judgement:
    """Whether few enough of the rows that are not withdrawn are missing."""
    return Judgement(
        not missing.collapsed, {"present": missing.present, "missing": missing.missing}
    )
