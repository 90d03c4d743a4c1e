"""The source that these tests share, and what commands are forked from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from moovitamix_tests.main_job.command import last_midnight
from moovitamix_tests.main_job.stem import Stem, a_stem
from moovitamix_tests.reference_source import ReferenceSource


@pytest.fixture(scope="module")
def reference() -> Iterator[ReferenceSource]:
    """A source of 300 records an endpoint, all of them of days that are over."""
    source = ReferenceSource(3, records=300, now=last_midnight() - timedelta(hours=1))
    with source:
        yield source


@pytest.fixture(scope="session")
def first_day() -> str:
    """Of runs of ten days: all that is older is dealt to the first, so that forty say no more."""
    return str(last_midnight().date() - timedelta(days=10))


@pytest.fixture(scope="session")
def stem(first_day: str) -> Iterator[Stem]:
    """A process that has imported the command line, with partitions from the first day on."""
    with a_stem(first_day) as started:
        yield started
