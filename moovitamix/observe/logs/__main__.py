"""Runs a console script in this process, with what it logs shipped to the GELF server.

    python -m moovitamix.observe.logs dagster-daemon run --workspace workspace.yaml

Dagster's daemon, webserver and code location do not import our code by themselves. Without
`MOOVITAMIX_GELF_URL` it is the script, and nothing more.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from moovitamix.errors import SettingsError
from moovitamix.observe.logs.process import attach, service_of


def run(arguments: list[str]) -> object:
    """Run the script that the first argument names; what it returns.

    Raises:
        SystemExit: When there is no such script, or as the script exits.
    """
    name = arguments[0] if arguments else ""
    found = entry_points(group="console_scripts", name=name)
    if not found:
        raise SystemExit(f"There is no console script {name!r}: name one, such as dagster-daemon.")
    try:
        attach(service_of(name))
    except SettingsError as error:
        raise SystemExit(f"Settings: {error}") from None
    sys.argv = arguments
    script = next(iter(found)).load()
    return script()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))  # type: ignore[arg-type] # what scripts return is what they exit with
