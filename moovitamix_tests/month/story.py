"""What happens in the month, and what has to come of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

from moovitamix.recommend import registry
from moovitamix.reset import set_aside
from moovitamix.serve.generations import current_key
from moovitamix.warehouse.days import blocked_days, published_days
from moovitamix_tests.month.platform import NAMESPACE, Day, Platform
from moovitamix_tests.month.source import FIRST_DAY, MoodySource
from moovitamix_tests.reference_source import serve_app

Event = str

# A cool-down after the training before, a day to see it, and a day to train.
_NOTICED_WITHIN = 4

# Days on which all that belongs to a day has to come of it.
_GOOD = {"", "torn", "crash", "shift", "flushed"}
_EACH_DAY = ("observe_day", "report_day")
_EACH_NIGHT = ("ingest_day", "housekeeping", "count_feedback")

# Days are counted from 0, the first partition.
MONTH: dict[int, Event] = {
    6: "torn",
    8: "crash",
    9: "bad",
    **dict.fromkeys(range(12, 19), "off"),
    20: "shift",
    23: "flushed",
    25: "down",
    27: "anew",
}
SHORT: dict[int, Event] = {1: "bad", 3: "off", 4: "off", 6: "flushed"}


class Story:
    """A month, or a shorter time.

    Args:
        folder: For all that there is.
        days: How many.
        events: What happens on which.
        users: Of the source.
        past: Days of listening before the first.
        tell: Takes a line of progress.
    """

    def __init__(
        self,
        folder: Path,
        *,
        days: int,
        events: dict[int, Event],
        users: int,
        past: int = 0,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._days = days
        self._events = events
        self._source = MoodySource(users, past)
        self._tell = tell
        self.findings: list[str] = []
        self.passed: list[Day] = []

    def run(self) -> list[str]:
        """Let the days pass; what did not come out as it should, in sentences."""
        with serve_app(self._source.app()) as url:
            platform = Platform(self._folder, self._source, url, self._tell)
            with platform.running():
                for number in range(self._days):
                    self._pass(platform, number)
                self._look_back(platform)
        return self.findings

    def _pass(self, platform: Platform, number: int) -> None:
        event = self._events.get(number, "")
        day = FIRST_DAY + timedelta(days=number)
        before = platform.days[-1].served if platform.days else None
        self._source.mood = {
            "torn": "torn",
            "bad": "mangled e-mails",
            "down": "down",
        }.get(event, "well")  # type: ignore[assignment]  # moods
        if event == "shift":
            self._source.shifted = day
        if event == "anew":
            self._source.start_anew()
        if event == "crash":
            platform.next_training_crashes = True
        if event == "flushed":
            with platform.redis() as client:
                client.flushall()
        found = platform.pass_day(day, machine_on=event != "off")
        self.passed.append(found)
        if event in _GOOD:
            self._look_at_good_day(found, number)
        if event == "torn":
            self._expect(found, self._source.torn, "a reading meets two worlds")
            # Twice is one reading: its beginning and its end.
            again = self._source.readings > 2
            self._expect(found, again, "the torn reading is thrown away, and done again")
        if event == "crash":
            self._expect(found, found.runs["retrain", False] == 1, "a training is killed")
            kept = found.served and before and found.served.model_version == before.model_version
            self._expect(found, bool(kept), "the champion stays")
        reported = event != "bad" or found.runs["report_day", True] > 0
        self._expect(found, reported, "a blocked day has a report")
        told = {"bad": "day_blocked", "down": "source_gone", "anew": "source_anew"}.get(event)
        self._expect(found, told is None or told in found.alerts, f"people are told: {told}")
        if event in {"bad", "down"} and before is not None:
            served = found.served.name if found.served else None
            self._expect(found, served == before.name, "what was served goes on")
        if event == "off":
            self._expect(found, not found.runs, "nothing runs")
        if number and self._events.get(number - 1) == "off" and event != "off":
            self._expect(found, found.ran("ingest_day") <= 2, "an outage is one load")
        if event == "anew":
            served = found.served.name if found.served and before else None
            self._expect(found, served == (before.name if before else None), "nothing is replaced")
            self._accept(platform)

    def _look_at_good_day(self, found: Day, number: int) -> None:
        self._expect(found, found.served is not None, "something is served")
        if found.served is not None:
            newest = found.served.as_of == found.day or self._events.get(number - 1) == "anew"
            self._expect(found, newest, "the newest day is served")
        self._expect(found, found.ran("refresh_serving") == 1, "lists are published once")
        # Also of the day after an outage, or after one that was blocked.
        self._expect(found, found.pulls == 1, f"one pull is kept, not {found.pulls}")
        for job in (*_EACH_NIGHT, *_EACH_DAY):
            self._expect(found, found.runs[job, True] > 0, f"{job} runs, and succeeds")

    def _accept(self, platform: Platform) -> None:
        lake = platform.resources["lake"].open()
        set_aside(platform.warehouse, lake, platform.cache)

    def _look_back(self, platform: Platform) -> None:
        with platform.warehouse.connect() as connection:
            published = published_days(connection)
            blocked = blocked_days(connection)
            champion = registry.champion(connection)
        self._follow_trainings()
        left = self.passed[-1].alerts
        self._expect(None, not left, f"no alert is open: {sorted(left)}")
        whole = {FIRST_DAY + timedelta(days=number) for number in range(self._days)}
        if "anew" not in self._events.values():
            self._expect(None, published == whole, f"every day is loaded, not {len(published)}")
        self._expect(None, not blocked, f"no day is blocked at the end: {sorted(blocked)}")
        self._expect(None, champion is not None, "there is a champion")
        with platform.redis() as client:
            self._expect(None, bool(client.exists(current_key(NAMESPACE))), "something is served")

    def _follow_trainings(self) -> None:
        """Within so many days a training follows what asks for one, and none loops."""
        for number, event in self._events.items():
            after = self.passed[number : number + _NOTICED_WITHIN]
            if event == "shift":
                why = [why for found in after for job, why in found.reasons if job == "retrain"]
                drifted = any("drifted" in sentence for sentence in why)
                self._expect(None, drifted, f"a training for drift follows day {number}: {why}")
            if event == "crash":
                well = any(found.runs["retrain", True] for found in after)
                self._expect(None, well, f"a training that ends well follows day {number}")
        for found in self.passed:
            self._expect(found, found.ran("retrain") <= 1, "a training does not loop")

    def _expect(self, found: Day | None, held: bool, what: str) -> None:
        if not held:
            self.findings.append(f"{found.day if found else 'At the end'}: not so: {what}")


def trainings(story: Story) -> list[date]:
    """The days on which a model was trained."""
    return [found.day for found in story.passed if found.ran("retrain")]
