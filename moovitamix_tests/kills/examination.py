"""What must hold on a home: tables, lake, cache and history; what does not, in words."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import dagster as dg
import redis

from moovitamix.embedded.postgres import ensure_postgres
from moovitamix.embedded.valkey import ensure_valkey
from moovitamix.resources import Warehouse
from moovitamix.serve.generations import added_key, current_key, read_current
from moovitamix.warehouse.days import published_days
from moovitamix_tests.warehouse.loading import contents

_OVER = {
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
}


_TOLD = """
SELECT count(h.id), count(*) FILTER (WHERE h.id IS NULL AND NOT EXISTS (
    SELECT FROM quarantine q
    WHERE q.endpoint = 'listens' AND q.resolved_at IS NULL
      AND starts_with(q.key, a.user_id || ' ')))
FROM activity a
JOIN published_days USING (day)
LEFT JOIN listen_history h
  ON h.user_id = a.user_id AND h.recorded_at = a.recorded_at
 AND h.track_id = a.track_id AND h.nth = a.nth
"""


def warehouse_of(home: Path) -> Warehouse:
    """The tables in the embedded Postgres of a home."""
    return Warehouse(url=ensure_postgres(home / "postgres"), namespace="mvx")


def differing_tables(home: Path, reference: Path) -> list[str]:
    """The tables of a home that are not those of another; ids that are ours left out."""
    ours, theirs = contents(warehouse_of(home)), contents(warehouse_of(reference))
    return [
        f"{table}: {len(ours[table])} rows, {len(theirs[table])} expected, "
        f"{sum((Counter(ours[table]) - Counter(theirs[table])).values())} of ours not among them"
        for table in ours
        if Counter(ours[table]) != Counter(theirs[table])
    ]


def told_faults(home: Path) -> list[str]:
    """What the app told on published days and is neither loaded nor waiting; or nothing told is."""
    with warehouse_of(home).connect() as connection:
        loaded, lost = connection.execute(_TOLD).fetchone() or (0, 0)
    faults = [f"{lost} plays that the app told are lost"] if lost else []
    return faults if loaded else [*faults, "nothing that the app told was loaded"]


def differing_lake(home: Path, reference: Path) -> list[str]:
    """The raw files that only one of two lakes has, and all that are unfinished or nobody's."""
    found = []
    for folder in ("raw", "pulls"):
        ours, theirs = (
            {str(file.relative_to(one)) for file in (one / "lake" / folder).rglob("[!.]*.*")}
            for one in (home, reference)
        )
        found += [f"{name} belongs to no kept pull" for name in sorted(ours - theirs)]
        found += [f"{name} is missing" for name in sorted(theirs - ours)]
    # Elsewhere in the lake they are removed when a day old: somebody may still be writing.
    return found + [
        f"{file.name} is unfinished"
        for folder in ("raw", "pulls")
        for file in (home / "lake" / folder).rglob(".*")
    ]


def generation_faults(home: Path) -> list[str]:
    """What is wrong with the generation that readers are given now; nothing served is no fault."""
    with closing(redis.Redis.from_url(ensure_valkey(home / "valkey"))) as client:
        name = client.get(current_key("mvx"))
        if not isinstance(name, bytes):
            return []
        generation = read_current(client, "mvx")
        if generation is None:
            return [f"{name.decode()} is current and has no description"]
        kinds = Counter(
            key.split(b":")[2].decode() for key in client.scan_iter(f"mvx:{generation.name}:*")
        )
        found = {kind: kinds[kind] for kind in generation.keys}
        added = client.hgetall(added_key("mvx", generation.name))
        wanted = {
            kind: count + int(added.get(kind.encode(), 0))
            for kind, count in generation.keys.items()
        }
        # Killed before they were counted, lists that came with what was told are more than it says.
        if any(found[kind] < count for kind, count in wanted.items()):
            return [f"{generation.name} has {found} of {wanted} keys"]
    return []


def serving_faults(home: Path) -> list[str]:
    """What is wrong after a whole run: the current generation must be there, whole and newest."""
    with closing(redis.Redis.from_url(ensure_valkey(home / "valkey"))) as client:
        generation = read_current(client, "mvx")
    if generation is None:
        return ["no generation is current"]
    with warehouse_of(home).connect() as connection:
        newest = max(published_days(connection))
    stale = [f"{generation.name} is served, {newest} is published"]
    return generation_faults(home) + (stale if generation.as_of != newest else [])


def unfinished_runs(home: Path) -> list[str]:
    """Runs that Dagster's history takes to be under way."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        return [
            f"run {run.run_id} of {run.job_name} is {run.status.value}"
            for run in instance.get_runs()
            if run.status not in _OVER
        ]
