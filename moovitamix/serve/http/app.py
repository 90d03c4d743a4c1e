"""The ASGI application: Starlette with the hot routes at the root, FastAPI for the rest.

How it is served is told in `server.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from starlette.routing import Route, Router

from moovitamix.erasure import Erasure, erase_users
from moovitamix.errors import SettingsError
from moovitamix.ingest.erased import read_key
from moovitamix.ingest.lake import LakeStore
from moovitamix.observe.logs.process import attach
from moovitamix.recommend.blas import one_thread
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.serve.connection import is_cluster
from moovitamix.serve.http.access import access_log_of
from moovitamix.serve.http.admission import Admission
from moovitamix.serve.http.clients import async_client, client
from moovitamix.serve.http.console.routes import ConsoleRoutes, Surroundings
from moovitamix.serve.http.direct import Direct
from moovitamix.serve.http.documented import documented_app
from moovitamix.serve.http.erased_users import ErasedUsers
from moovitamix.serve.http.erasing import Erasing, erasure_route
from moovitamix.serve.http.feedback import FeedbackTaking, feedback_routes
from moovitamix.serve.http.fold_supervision import FOLDER
from moovitamix.serve.http.forgetting import Forgetting
from moovitamix.serve.http.freshener import Freshener
from moovitamix.serve.http.gate import Gate, Limits
from moovitamix.serve.http.group_commit import GroupCommit
from moovitamix.serve.http.keys import KeyStore
from moovitamix.serve.http.listens import ROUTE as LISTENS
from moovitamix.serve.http.listens import ListensRoute
from moovitamix.serve.http.metrics import Metrics
from moovitamix.serve.http.reads import ListReader
from moovitamix.serve.http.refresh import Refresher
from moovitamix.serve.http.routes import list_routes, shortcut
from moovitamix.serve.http.snapshot import snapshot_path
from moovitamix.serve.http.taking import Listens
from moovitamix.serve.http.telling import Telling, pipe_in
from moovitamix.serve.http.tiers import Tiers
from moovitamix.serve.http.time_limit import TimeLimit
from moovitamix.serve.http.world import World
from moovitamix.settings import get_settings

log = logging.getLogger(__name__)

_KEYS_READ_EVERY = 2.0
# Seconds that a thread may go on while another waits for its turn; Python's own is 5 ms.
_TURN = 0.0005


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Where everything is.

    Attributes:
        warehouse: Postgres.
        lake: Files.
        cache: Redis.
        cluster: Whether Redis is a cluster.
    """

    warehouse: Warehouse
    lake: Lake
    cache: Cache
    cluster: bool = False


@dataclass(frozen=True, kw_only=True)
class Features:
    """What can be left out, to measure what it costs.

    Attributes:
        metrics: Count, and show at `/metrics`.
        access_log: A line a request.
    """

    metrics: bool = True
    access_log: bool = True


@dataclass(kw_only=True)
class Api:
    """An application and what it works with, in the order in which things start.

    Attributes:
        app: To be served.
        world: What it holds.
        refresher: Keeps that up to date.
        freshener: Keeps users' lists up to date, where no other process does.
        erasing: Users whose erasure was asked for.
        reader: Of Redis.
        metrics: What it counts.
        tiers: What answers requests for lists.
        feedback: What takes in what users do with them.
    """

    app: Gate
    world: World
    refresher: Refresher
    freshener: Freshener
    erasing: Erasing
    reader: ListReader
    metrics: Metrics | None
    tiers: Tiers = field(repr=False)
    feedback: FeedbackTaking = field(repr=False)


def build_api(
    stores: Stores,
    *,
    keys: KeyStore,
    limits: Limits,
    features: Features | None = None,
    background: bool = True,
    beside: Path | None = None,
) -> Api:
    """The application on some stores.

    Args:
        stores: Where everything is. Embedded ones are started here; else nothing is connected yet.
        keys: The keys in force.
        limits: Of a request.
        features: What is left out.
        background: Keep the world up to date; else the caller does.
        beside: The folder in which another process is told whom to fold in; None: this one does it.
    """
    features = features or Features()
    settings = get_settings()
    metrics = Metrics(beside) if features.metrics else None
    address, prefix = stores.cache.address(), stores.cache.prefix
    # Resolved once: a store that is stopped later is not to be started from here.
    warehouse = Warehouse(url=stores.warehouse.address(), namespace=stores.warehouse.schema_name)
    world, lake = World(), stores.lake.open()
    connect = partial(client, address, cluster=stores.cluster)
    freshener = Freshener(
        world,
        warehouse=warehouse,
        connect=connect,
        prefix=prefix,
        listener=None if metrics is None else metrics.fold_ins,
    )
    folding = freshener if beside is None else Telling(pipe_in(beside))
    forgetting = Forgetting(world, metrics)
    refresher = Refresher(
        world,
        warehouse=warehouse,
        lake=lake,
        connect=connect,
        prefix=prefix,
        path=snapshot_path(settings.home_path, prefix),
        watcher=forgetting,
        folds=beside is None,
        on_factors=freshener.look,
    )
    erased = ErasedUsers(partial(read_key, lake))
    commits = GroupCommit(warehouse, Listens(erased, settings.present).write)
    reader = ListReader(
        async_client(address, cluster=stores.cluster),
        prefix,
        cluster=stores.cluster,
        observer=metrics,
        on_generation=refresher.wake,
    )
    tiers = Tiers(reader, world, metrics)
    feedback = FeedbackTaking(warehouse, connect, prefix, world, erased, folding.told)
    access = access_log_of(settings) if features.access_log else None
    cache = Cache(url=address, namespace=prefix)
    console = ConsoleRoutes(
        Surroundings(
            warehouse=warehouse,
            lake=lake,
            cache=cache,
            connect=connect,
            prefix=prefix,
            world=world,
            tiers=tiers,
            reader=reader,
            keys=keys,
        )
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        # One request's linear algebra is small: threads of BLAS would only get in each other's way.
        with one_thread():
            if background:
                refresher.start()
                folding.start()
            watching = asyncio.create_task(_watch_keys(keys))
            # What is here now stays: it need not be gone through again and again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 100)
            # A request waits no longer than this for a thread that works out somebody's lists.
            sys.setswitchinterval(_TURN)
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
                await commits.close()
                await feedback.close()
                await reader.close()
                tiers.close()
                if background:
                    await asyncio.to_thread(refresher.stop)
                    await asyncio.to_thread(folding.stop)
                if access is not None:
                    access.close()

    # What is no hot path goes to the rest. Not a mount: a hot path under another method is to be
    # told so (405), not looked for there. Without Starlette's middleware: the gate does its work.
    erasing = Erasing(
        partial(_erase, warehouse, lake, cache, settings.spool), forgetting, limits.seconds / 2
    )
    lists = list_routes(tiers)
    root = Router(
        [
            *lists,
            Route(LISTENS, ListensRoute(commits, folding.told), methods=["POST"]),
            *feedback_routes(feedback),
            *console.routes(),
        ],
        default=TimeLimit(
            documented_app(reader, world, metrics, erasure_route(erasing)), limits.seconds, metrics
        ),
        lifespan=lifespan,
    )
    gate = Gate(
        root,
        Admission(keys, limits.per_second, metrics),
        limits,
        metrics,
        access,
        lists=shortcut(lists),
    )
    gate.take = Direct(gate, tiers).take
    return Api(
        app=gate,
        world=world,
        refresher=refresher,
        freshener=freshener,
        erasing=erasing,
        reader=reader,
        metrics=metrics,
        tiers=tiers,
        feedback=feedback,
    )


def from_settings_quiet() -> Gate:
    """The same as `from_settings`, without an access log."""
    return from_settings(access_log=False)


def from_settings(*, access_log: bool = True) -> Gate:
    """The application as the environment says: what a server's worker calls."""
    settings = get_settings()
    configured = settings.api_keys.get_secret_value() if settings.api_keys else None
    cache = Cache()
    stores = Stores(
        warehouse=Warehouse(), lake=Lake(), cache=cache, cluster=is_cluster(cache.address())
    )
    limits = Limits(per_second=settings.rate_limit or None)
    keys = KeyStore(configured, settings.home_path)
    attach("api", stream=sys.stderr)
    features = Features(access_log=access_log)
    folder = os.environ.get(FOLDER)
    beside = None if folder is None else Path(folder)
    return build_api(stores, keys=keys, limits=limits, features=features, beside=beside).app


def _erase(warehouse: Warehouse, lake: LakeStore, cache: Cache, spool: Path, user: int) -> Erasure:
    return erase_users(warehouse, lake, cache, [user], spool=spool)


async def _watch_keys(keys: KeyStore) -> None:
    while True:
        await asyncio.sleep(_KEYS_READ_EVERY)
        try:
            if keys.reload():
                log.info("The API keys were read again: %d.", len(keys.keys or ()))
        except SettingsError as error:
            log.error("%s The keys that were in force stay.", error)  # noqa: TRY400 - no trace
