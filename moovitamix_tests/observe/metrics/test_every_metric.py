"""Every metric of the registry moves, from real runs and real requests; none is told besides."""

from __future__ import annotations

import pytest

from moovitamix.observe.metrics.family import Family
from moovitamix.observe.metrics.registry import BY_NAME, FAMILIES
from moovitamix_tests.observe.metrics.operated import Operated, Series, moved

_ENDINGS = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "gauge": ("",)}


def names_of(family: Family) -> set[str]:
    return {family.name + ending for ending in _ENDINGS[family.kind]}


def all_scrapes(operated: Operated) -> list[Series]:
    return [*operated.batch, *operated.api]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_it_moves(family: Family, operated: Operated) -> None:
    empty, good, down, bad = operated.batch
    asked, refused = operated.api[:2], operated.api[2:]
    pairs = (
        [(empty, good), (good, down), (good, bad)]
        if family.set_by == "batch"
        else [(asked[0], asked[1]), (refused[0], refused[1])]
    )
    assert names_of(family) <= set().union(*(moved(*pair) for pair in pairs))


def test_nothing_is_told_that_is_not_in_the_registry(operated: Operated) -> None:
    told = {name for scrape in all_scrapes(operated) for name, _ in scrape}
    assert told == set().union(*map(names_of, FAMILIES))


def test_labels_are_those_of_the_registry_and_have_its_values(operated: Operated) -> None:
    ends = {name: family for family in FAMILIES for name in names_of(family)}
    for scrape in all_scrapes(operated):
        for name, labels in scrape:
            family, found = ends[name], dict(labels)
            found.pop("le", None)
            assert set(found) == set(family.label_names), name
            for label in family.labels:
                assert not label.values or found[label.name] in label.values, (name, found)


def test_no_label_tells_a_user_a_day_or_a_run(operated: Operated) -> None:
    values = {
        value for scrape in all_scrapes(operated) for _, labels in scrape for _, value in labels
    }
    with operated.warehouse.connect() as connection:
        days = {str(day) for (day,) in connection.execute("SELECT day FROM published_days")}
        runs = {run for (run,) in connection.execute("SELECT run_id FROM step_figures")}
    assert days
    assert not values & (days | runs)
    assert not [value for value in values if "somebody" in value]


def test_names_are_by_the_conventions_of_prometheus() -> None:
    for family in FAMILIES:
        assert family.name.startswith("moovitamix_")
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert family.name.endswith(family.unit), family.name
        assert family.help.endswith("."), family.name
        assert bool(family.buckets) == (family.kind == "histogram"), family.name
        assert all(label.values or label.source for label in family.labels), family.name
    assert len(BY_NAME) == len(FAMILIES)
