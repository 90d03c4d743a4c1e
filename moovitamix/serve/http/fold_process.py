"""The process that folds in, for all workers of one server: `python -m` this, see `main`.

Who starts it, and again when it was killed, is `fold_supervision.py`. It has nothing to lose: of
whom something new is known is found by marks, and lists say how much they know.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import sys
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry

from moovitamix.observe.logs.process import attach
from moovitamix.recommend.blas import one_thread
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.serve.connection import is_cluster
from moovitamix.serve.http.clients import client
from moovitamix.serve.http.fold_figures import FoldFigures
from moovitamix.serve.http.fold_loading import FoldLoading
from moovitamix.serve.http.freshener import Freshener
from moovitamix.serve.http.telling import open_pipe, pipe_in, read_told
from moovitamix.serve.http.world import World

log = logging.getLogger(__name__)

_STANDARD_INPUT = 0
# Seconds that a look may go on while somebody is to be folded in; Python's own is 5 ms.
_TURN = 0.0005


def main(folder: Path, ended: int | None = None) -> None:
    """Fold in until the standard input ends, which it does with the process that holds it.

    Args:
        folder: With the pipe of who is told of; where figures go is `PROMETHEUS_MULTIPROC_DIR`.
        ended: What the process ended with in whose place this is; None: there was none.
    """
    # A whole group hears of Ctrl-C, and of a service manager's end: this ends with its server.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    attach("api", stream=sys.stderr)
    figures = FoldFigures(CollectorRegistry())
    if ended is not None:
        figures.fold_in_failed()
        log.error("The process that folds in had ended (%d); this is another one.", ended)
    cache, address = Cache(), Cache().address()
    warehouse = Warehouse()
    warehouse = Warehouse(url=warehouse.address(), namespace=warehouse.schema_name)
    connect = partial(client, address, cluster=is_cluster(address))
    world = World()
    freshener = Freshener(
        world, warehouse=warehouse, connect=connect, prefix=cache.prefix, listener=figures
    )
    loading = FoldLoading(
        world,
        warehouse=warehouse,
        lake=Lake().open(),
        connect=connect,
        prefix=cache.prefix,
        on_factors=freshener.look,
    )
    # One user's linear algebra is small, and the other cores are the workers'.
    with one_thread():
        loading.start()
        freshener.start()
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(_TURN)
        _pass_on(open_pipe(pipe_in(folder)), freshener)
        loading.stop()
        freshener.stop()


def _pass_on(pipe: int, freshener: Freshener) -> None:
    """Tell of whom is told, until nothing holds the other end of the standard input."""
    while True:
        ready, _, _ = select.select([pipe, _STANDARD_INPUT], [], [])
        if pipe in ready:
            freshener.told(read_told(pipe))
        if _STANDARD_INPUT in ready and not os.read(_STANDARD_INPUT, 1):
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
