"""The plots are SVG that any reader parses, and show where each feature stands."""

from __future__ import annotations

import base64
from xml.etree import ElementTree as ET

import pytest

from moovitamix.observe.drift import Reading, Seen
from moovitamix.observe.drift_null import Bound, Null
from moovitamix.observe.drift_plots import distributions, places
from moovitamix.observe.drift_shape import base_of
from moovitamix.observe.drift_windows import day_number, history_of
from moovitamix_tests.observe.conftest import NEWEST
from moovitamix_tests.observe.shifts import Listened

SVG = "{http://www.w3.org/2000/svg}"


def parsed(picture: str) -> ET.Element:
    kind, _, content = picture.partition(",")
    assert kind == "data:image/svg+xml;base64"
    return ET.fromstring(base64.b64decode(content))  # noqa: S314 - our own


def test_what_is_usual_stands_at_one_place_and_an_alarm_at_another_whichever_way_is_bad() -> None:
    rising, falling = Bound(0.1, 0.2, 0.3), Bound(0.3, 0.2, 0.1)
    picture = parsed(
        places(
            [
                Reading("genre_mix", 0.1, rising, "steady"),
                Reading("quality", 0.3, falling, "steady"),
                Reading("genre_mix", 0.3, rising, "drifted"),
                Reading("quality", 0.1, falling, "drifted"),
                Reading("genre_mix", 9.0, rising, "drifted"),
            ]
        )
    )
    across = [float(dot.attrib["cx"]) for dot in picture.iter(f"{SVG}circle")]
    assert across[0] == across[1] < across[2] == across[3] < across[4] < 900
    told = [text.text for text in picture.iter(f"{SVG}text")]
    assert told[:2] == ["genre_mix", "0.100 steady"]


@pytest.mark.parametrize("named", ["R&B", "<b>", "drum and bass"])
def test_the_present_is_drawn_beside_the_reference(listened: Listened, named: str) -> None:
    genres = listened.genres.with_columns(genre=listened.genres["genre"].replace("Rock", named))
    history = history_of(listened.plays, genres)
    newest = day_number(NEWEST)
    base = base_of([history.window(newest - 13, 7)], newest - 6)
    picture = parsed(
        distributions(Seen(history.window(newest - 6, 7), base), None, Null(gap=0, bounds={}))
    )
    assert len(list(picture.iter(f"{SVG}polyline"))) == 6
    told = [text.text for text in picture.iter(f"{SVG}text")]
    assert named in told
    assert "score_ranks" not in told


def test_a_bar_is_as_high_as_its_share(listened: Listened) -> None:
    history = history_of(listened.plays, listened.genres)
    window = history.window(day_number(NEWEST) - 6, 7)
    base = base_of([window], day_number(NEWEST))
    picture = parsed(distributions(Seen(window, base), None, None))
    bars = [float(bar.attrib["height"]) for bar in picture.iter(f"{SVG}rect")][1:]
    reference, present = bars[::2], bars[1::2]
    assert reference == present
    assert reference == sorted(reference, reverse=True)
