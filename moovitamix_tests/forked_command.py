"""What processes share that run the command line in forks of themselves: imports, and its end.

Who forks, and why, is told in `kills/victims.py` and `main_job/stem.py`.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn


def import_what_runs_need() -> None:
    """Import what a run does, and nothing that starts a thread: a fork would not have it."""
    import great_expectations  # noqa: F401 - imports are all that is wanted here
    import sqlalchemy  # noqa: F401 - as above

    import moovitamix.definitions
    import moovitamix.main_job
    import moovitamix.run
    import moovitamix.warehouse.publish
    import moovitamix.warehouse.stage  # noqa: F401 - as above


def run_and_end(arguments: Sequence[str], prepare: Callable[[], None]) -> NoReturn:
    """Run the command line in this process, and end it with its code, whatever happens.

    Args:
        arguments: Of `moovitamix`.
        prepare: Called first; when it raises, that is how the command ends.
    """
    from moovitamix.cli import main
    from moovitamix.settings import get_settings

    get_settings.cache_clear()  # read for the partitions, when they were imported
    sys.argv = ["moovitamix", *arguments]
    code: int | str | None = 1
    try:
        prepare()
        main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
