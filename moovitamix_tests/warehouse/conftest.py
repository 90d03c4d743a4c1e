"""The small source that most tests of loading begin with."""

from __future__ import annotations

import pytest

from moovitamix_tests.ingest.pulling import a_listen, a_track, a_user, at, empty
from moovitamix_tests.reference_source import ReferenceSource


@pytest.fixture
def small(source: ReferenceSource) -> ReferenceSource:
    """Two tracks of the 5th, two users of the 6th, and a listen of the 12th."""
    empty(source)
    source.tracks = [
        a_track(1, at(5), genres="Jazz, Hip  Hop", duration="03:30"),
        a_track(2, at(5), genres="", duration="61:01"),
    ]
    source.users = [
        a_user(1, at(6), favorite_genres="R&B"),
        a_user(2, at(6), favorite_genres="jazz,R&B ,"),
    ]
    source.listens = [a_listen(1, [1, 2, 1], at(12))]
    return source
