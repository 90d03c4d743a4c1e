"""An operated platform as tests hold it: its stores, its exporter and API, what these told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from moovitamix.observe.metrics.collector import PlatformCollector
from moovitamix.resources import Cache, Lake, Warehouse
from moovitamix.serve.http.app import Api, Features, Stores, build_api
from moovitamix.serve.http.gate import Limits
from moovitamix.serve.http.keys import KeyStore

# A series by name and labels, and its value.
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]

USERS = 120

# Where nothing listens.
NO_REDIS = "redis://127.0.0.1:1"
NO_POSTGRES = "postgresql://127.0.0.1:1/none"


def series(text: str) -> Series:
    """What an exposition tells."""
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if not one.name.endswith("_created")
    }


def moved(before: Series, after: Series) -> set[str]:
    """The names of series that are there now, and were not, or had another value."""
    return {name for (name, labels), value in after.items() if before.get((name, labels)) != value}


def changed(before: Series, after: Series) -> set[str]:
    """The names of series that are there at both times, with another value."""
    return {
        name
        for (name, labels), value in after.items()
        if before.get((name, labels), value) != value
    }


@dataclass
class Operated:
    """The platform, and what its figures were on the way.

    Attributes:
        warehouse: The tables.
        cache: What is served.
        lake: The files.
        home: The folder of everything else.
        source_url: What is pulled from.
        batch: Of the exporter: empty, after the good days, without stores, after the bad day,
            after another day was observed, after another champion was trained and published, and
            without a table.
        api: Of two APIs, before and after they were asked: with their stores, and without.
    """

    warehouse: Warehouse
    cache: Cache
    lake: Lake
    home: Path
    source_url: str
    batch: list[Series] = field(default_factory=list)
    api: list[Series] = field(default_factory=list)

    def read(self) -> None:
        """Notes what the exporter tells now."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(PlatformCollector(self.warehouse, self.cache, self.lake, 0))
        self.batch.append(series(generate_latest(registry).decode()))

    def build_api(self, *, keys: str | None = None, background: bool = False) -> Api:
        """An API on its stores."""
        return build_api(
            Stores(warehouse=self.warehouse, lake=self.lake, cache=self.cache),
            keys=KeyStore(keys, self.home),
            limits=Limits(),
            features=Features(access_log=False),
            background=background,
        )
