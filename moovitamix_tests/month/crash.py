"""A training that dies in the middle of a promotion: killed before its transaction is committed.

    python -m moovitamix_tests.month.crash '{"tag": "value"}'    executes `retrain`; never ends well

Stores, source and Dagster's home come from the environment, as in a deployment.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

import dagster as dg
import msgspec


def main() -> int:
    """Execute `retrain` until it promotes; 1 where it did not come to that."""
    from moovitamix.definitions import defs
    from moovitamix.recommend import registry

    promote = registry.promote

    def die(*given: object) -> NoReturn:
        promote(*given)  # type: ignore[arg-type]  # passed on as they are
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    registry.promote = die  # type: ignore[assignment]  # it never returns
    tags = msgspec.json.decode(sys.argv[1], type=dict[str, str])
    with dg.DagsterInstance.get() as instance:
        defs.resolve_job_def("retrain").execute_in_process(
            instance=instance, tags=tags, raise_on_error=False
        )
    return 1


if __name__ == "__main__":
    sys.exit(main())
