"""The source that these tests share."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from moovitamix_tests.main_job.command import (
    last_midnight,
)
from moovitamix_tests.reference_source import ReferenceSource


@pytest.fixture(scope="module")
def reference() -> Iterator[ReferenceSource]:
    """A source of 300 records an endpoint, all of them of days that are over."""
    source = ReferenceSource(3, records=300, now=last_midnight() - timedelta(hours=1))
    with source:
        yield source
