"""A small world that names one user in every place there is, and others beside her.

Loaded from the reference source by three pulls; what tests do with it is their business.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import redis
from psycopg import sql

from moovitamix.ingest.contract import ENDPOINTS
from moovitamix.ingest.lake import LakeStore
from moovitamix.ingest.pulls import kept_pulls
from moovitamix.ingest.tally import tally
from moovitamix.recommend import artifacts, features
from moovitamix.recommend.als import AlsParameters, fit_als
from moovitamix.recommend.champion import Champion
from moovitamix.recommend.interactions import read_interactions
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.resources import Cache, Warehouse
from moovitamix.serve.catalogue import read_catalogue
from moovitamix.serve.publish import publish_generation
from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, at, empty, pull_at
from moovitamix_tests.reference_source import Record, ReferenceSource
from moovitamix_tests.warehouse.loading import contents, load, november, stage_days
from moovitamix_tests.warehouse.telling import tell

HER = 7_000_123
HER_ACCOUNT = at(5, 9)
HER_WORDS = ("perpetua@example.org", "Perpetua", "felicitas", str(HER))
OTHERS = range(1, 9)
TRACKS = range(1, 7)

Contents = dict[str, list[tuple[Any, ...]]]


def adds_up(lake: LakeStore) -> bool:
    """Whether the files of all days hold what the manifests say."""
    kept = kept_pulls(lake)
    days = sorted({day for pull in kept for one in pull.counts.values() for day in one.dealt})
    return all(tally(lake, endpoint, kept, days).adds_up for endpoint in ENDPOINTS)


def her_record(**fields: Any) -> Record:
    """Her account as the source sends it."""
    return a_user(
        HER,
        HER_ACCOUNT,
        **{
            "first_name": "Perpetua",
            "email": "perpetua@example.org",
            "favorite_genres": "Jazz,felicitas",
            **fields,
        },
    )


@dataclass(frozen=True)
class Peopled:
    """The world, and what it is kept in."""

    warehouse: Warehouse
    lake: LakeStore
    client: redis.Redis
    source: ReferenceSource

    @property
    def cache(self) -> Cache:
        kwargs = self.client.connection_pool.connection_kwargs
        url = f"redis://{kwargs['host']}:{kwargs['port']}"
        return Cache(url=url, namespace=self.warehouse.schema_name)

    def contents(self) -> Contents:
        """All tables as loading made them."""
        return contents(self.warehouse)

    def contents_of_others(self) -> Contents:
        """The same without what is hers."""
        return {
            table: [row for row in rows if not any(word in str(row) for word in HER_WORDS)]
            for table, rows in self.contents().items()
        }

    def mentions(self) -> list[str]:
        """The tables, files and keys in which she occurs, by name or by id."""
        found = [f"table {name}" for name, text in self._tables() if _mentions_her(text)]
        found += [
            name
            for name in self.lake.names("")
            if _mentions_her(_readable(name, self.lake.read_bytes(name)))
        ]
        return found + [str(key) for key in self.client.keys("*") if str(HER) in str(key)]

    def _tables(self) -> list[tuple[str, str]]:
        texts = []
        with self.warehouse.connect() as connection:
            tables = connection.execute(
                "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
                "WHERE relkind = 'r' AND nspname = ANY(current_schemas(false))"
            ).fetchall()
            connection.execute("SET bytea_output = 'escape'")
            for (name,) in tables:
                query = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(name))
                rows = connection.execute(query).fetchall()
                texts.append((name, "\n".join(text for (text,) in rows)))
        return texts

    def recommend(self) -> None:
        """Features, matrix, model, and two generations of lists: one served, one former."""
        as_of = november(21)
        artifacts.store_features(
            self.lake, features.read_user_features(self.warehouse, as_of), as_of, "p"
        )
        plays = read_interactions(self.warehouse, as_of)
        for matrix in (
            build_matrix(plays, MatrixParameters(weighting="binary"), as_of),
            build_matrix(plays, MatrixParameters(), as_of),
        ):
            artifacts.store_matrix(self.lake, matrix, "p")
        model = fit_als(matrix, AlsParameters(factors=2, iterations=2, regularization=0.1))
        artifacts.store_model(self.lake, "r", model)
        for _ in range(2):
            publish_generation(
                self.client,
                self.warehouse.schema_name,
                champion=Champion(1, "als", False, as_of, model),
                matrix=matrix,
                catalogue=read_catalogue(self.warehouse),
                tell=lambda _: None,
            )


def _mentions_her(text: str) -> bool:
    return any(word in text for word in HER_WORDS)


def _readable(name: str, content: bytes) -> str:
    """All that a file of the lake holds, as text."""
    if name.endswith(".parquet"):
        frame = pl.read_parquet(io.BytesIO(content))
        if "payload" in frame.columns:
            frame = frame.with_columns(pl.col("payload").cast(pl.String, strict=False))
        return frame.drop("sha256", strict=False).write_json()
    if name.endswith(".npz"):
        with np.load(io.BytesIO(content)) as arrays:
            return "\n".join(" ".join(map(str, arrays[one].ravel())) for one in arrays.files)
    return content.decode(errors="replace")


def make_peopled(
    warehouse: Warehouse, lake: LakeStore, client: redis.Redis, source: ReferenceSource
) -> Peopled:
    """The same at each call: three pulls, all their days, recommendations, lists.

    Her account breaks the contract in the first pull and is mended by the second; the third has an
    edit of it, a listen that has grown, and misses another user. The last listens are staged and
    wait for a run that was killed. The app told of listens that no pull has brought; one is loaded.
    """
    world = Peopled(warehouse, lake, client, source)
    empty(source)
    source.tracks = [a_track(one, at(4)) for one in TRACKS]
    source.users = [a_user(one, at(5)) for one in OTHERS] + [her_record(gender=None)]
    source.listens = [
        *(a_listen(one, [1 + one % 6, 1 + (one + 1) % 6], at(10 + one)) for one in OTHERS),
        a_listen(1, [99], at(9)),
        a_listen(HER, [1, 2], at(12)),
        a_listen(HER, [99], at(13)),
        a_listen(HER, None, at(14)),
    ]
    pull_at(lake, source)
    load(warehouse, lake, *range(1, 21))
    source.users[-1] = her_record()
    pull_at(lake, source, at(22))
    tell(warehouse, HER, at(21), [4, 5])
    tell(warehouse, 2, at(21), [4])
    load(warehouse, lake, 21)
    source.users[-1] = her_record(last_name="Felicity")
    source.users.pop(0)
    source.listens[-3] = a_listen(HER, [1, 2, 3], at(12), at(22, 9))
    pull_at(lake, source, at(23))
    load(warehouse, lake, 22)
    stage_days(warehouse, lake, [november(12), november(22)], "killed")
    tell(warehouse, HER, at(25), [1])
    world.recommend()
    return world
