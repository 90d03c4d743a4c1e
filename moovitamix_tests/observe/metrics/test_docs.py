"""docs/metrics.md tells of the metrics that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from moovitamix.cli import cli
from moovitamix.observe.metrics.api_families import API_FAMILIES
from moovitamix.observe.metrics.family import Family
from moovitamix.observe.metrics.registry import BATCH_FAMILIES, markdown
from moovitamix.resources import Warehouse

DOCS = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()


@pytest.mark.parametrize(("part", "families"), [("api", API_FAMILIES), ("batch", BATCH_FAMILIES)])
def test_the_tables_are_those_of_the_registry(part: str, families: tuple[Family, ...]) -> None:
    (table,) = re.findall(rf"<!-- {part} -->\n(.*?)\n<!-- end -->", DOCS, re.DOTALL)
    assert table == markdown(families), "write them anew: `moovitamix metrics list`"


def test_the_queries_of_the_page_are_understood_by_postgres(warehouse: Warehouse) -> None:
    (page,) = re.findall(r"```sql\n(.*?)```", DOCS, re.DOTALL)
    queries = [query for query in page.replace("mvx.", "").split(";") if query.strip()]
    assert len(queries) == 5
    with warehouse.connect() as connection:
        for query in queries:
            assert connection.execute(query.encode()).fetchall() == []


def test_the_command_prints_both() -> None:
    told = CliRunner().invoke(cli, ["metrics", "list"]).output
    assert told == f"{markdown(API_FAMILIES)}\n\n{markdown(BATCH_FAMILIES)}\n"
