"""What answers last, on disk: names, what is popular, removals. For a start without any store.

It holds nothing of users. What it becomes in memory is told in `world.py`.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moovitamix.recommend import archive
from moovitamix.serve.http.tracks import from_arrays, to_arrays
from moovitamix.serve.http.world import Counts, Origin, World

KIND = "serving snapshot"


def snapshot_path(home: Path, namespace: str) -> Path:
    """Where the snapshot of a namespace is."""
    return home / "serve" / f"{namespace}.snapshot.npz"


def save(path: Path, world: World) -> None:
    """Write what a world knows of the catalogue; a reader finds the old file or the new one."""
    header, arrays = to_arrays(world.tracks)
    origin = world.origin
    header["origin"] = origin and {
        "generation": origin.generation,
        "model_version": origin.model_version,
        "generated_at": origin.generated_at.isoformat(),
    }
    genres = sorted(world.by_genre)
    lists = [world.by_genre[genre] for genre in genres]
    more: dict[str, NDArray[Any]] = {
        "counted": world.counts.ids,
        "listeners": world.counts.listeners,
        "removed": np.array(sorted(world.removed), dtype=np.int64),
        "lists_of": np.array(genres, dtype=np.int64),
        "list_lengths": np.array([len(found.ids) for found in lists], dtype=np.int64),
        "list_ids": np.concatenate([np.empty(0, np.int64), *(found.ids for found in lists)]),
        "list_listeners": np.concatenate(
            [np.empty(0, np.float32), *(found.listeners for found in lists)]
        ),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
    unfinished.write_bytes(archive.pack(KIND, header, {**arrays, **more}))
    unfinished.replace(path)


def load(path: Path, world: World) -> bool:
    """Fill a world from a snapshot; False when there is none that can be read."""
    try:
        header, arrays = archive.unpack(KIND, path.read_bytes())
        tracks = from_arrays(header, arrays)
        counts = Counts(arrays["counted"], arrays["listeners"])
        ends = np.cumsum(arrays["list_lengths"])
        ids = np.split(arrays["list_ids"], ends[:-1]) if len(ends) else []
        heard = np.split(arrays["list_listeners"], ends[:-1]) if len(ends) else []
        lists = zip(arrays["lists_of"].tolist(), map(Counts, ids, heard), strict=True)
        told = header["origin"]
    except (OSError, KeyError, ValueError, archive.DamagedArtifact):
        return False
    world.tracks, world.counts, world.by_genre = tracks, counts, dict(lists)
    world.removed = frozenset(arrays["removed"].tolist())
    if told is not None:
        generated_at = datetime.fromisoformat(told["generated_at"])
        world.origin = Origin(told["generation"], told["model_version"], generated_at)
    world.rank()
    return True
