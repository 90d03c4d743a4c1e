"""One kill: a command that dies as planned, and what is noted of it in the tally."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from moovitamix_tests.kills import examination
from moovitamix_tests.kills.homes import Homes
from moovitamix_tests.kills.plan import Death, Tally

_TOLD_EVERY = 10


class Killer:
    """Kills commands, and keeps the tally.

    Args:
        homes: Where they run.
        tally: Of the campaign.
        kills: How many are asked for.
        tell: Told how it goes.
    """

    def __init__(self, homes: Homes, tally: Tally, kills: int, tell: Callable[[str], None]) -> None:
        self._homes = homes
        self._tally = tally
        self._kills = kills
        self._tell = tell
        self._told = 0

    def kill(self, home: Path, death: Death, arguments: Sequence[str]) -> bool:
        """Run a command that dies so; whether it did."""
        tally, killed = self._tally, self._tally.killed
        tally.runs += 1
        if death.cold_after:
            ended = self._homes.cold_command(home, arguments, death.cold_after)
            label = ("any", "a moment by chance")
        else:
            assert death.point is not None
            ended = self._homes.command(home, arguments, point=death.point, server=death.server)
            label = (death.point.step, death.server or death.point.operation)
        if ended.code is None:
            tally.findings.append(f"The command hung: {death}")
        elif ended.code == -signal.SIGKILL or (death.server and ended.code != 0):
            tally.kills[label] += 1
            if death.point is not None and death.server is None:
                tally.at.add(death.point)
        elif ended.code == 0:
            tally.missed += 1  # also where a server was killed and nobody needed it any more
        else:
            tally.findings.append(
                f"The run after {tally.killed} kills ended with {ended.code}, nobody killed "
                f"it: {death}; see {self._homes.output(home)}"
            )
        faults = examination.generation_faults(home)
        tally.findings += [f"After {death}: {fault}" for fault in faults]
        for finding in tally.findings[self._told :]:
            self._tell(finding)
        self._told = len(tally.findings)
        if tally.runs % _TOLD_EVERY == 0:
            self._tell(
                f"{tally.killed} of {self._kills} killed, {tally.missed} missed, "
                f"{len(tally.left)} points left, {len(tally.findings)} findings; there it is "
                f"{self._homes.now:%Y-%m-%d}"
            )
        return tally.killed > killed
