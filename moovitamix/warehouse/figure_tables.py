"""The tables of figures that runs leave behind: how long, how much, with what result.

What is written to them and when: `figures.py`. They name no user and no record. Metrics are read
from the newest rows (`observe/metrics/`); the older ones are for whoever asks how it was.
"""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, Date, Double, Table, Text

from moovitamix.warehouse.columns import OurMoment, metadata

step_figures = Table(
    "step_figures",
    metadata,
    Column("run_id", Text, primary_key=True, comment="Dagster's."),
    Column("step", Text, primary_key=True),
    Column("job", Text, nullable=False),
    Column("stage", Text, nullable=False, comment="upkeep: of no stage."),
    Column("ended_at", OurMoment, nullable=False, index=True),
    Column("succeeded", Boolean, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("cpu_seconds", Double, nullable=False, comment="Of all threads and children."),
    Column("peak_bytes", BigInteger, nullable=False, comment="Of the process, meanwhile."),
    Column("rows", BigInteger, comment="That it made; null: it makes none."),
    comment="What each step of a run took.",
)

load_figures = Table(
    "load_figures",
    metadata,
    Column("run_id", Text, primary_key=True, comment="Dagster's."),
    Column("table_name", Text, primary_key=True),
    Column("loaded_at", OurMoment, nullable=False, index=True),
    Column("first_day", Date, nullable=False, comment="Of the days that were published."),
    Column("last_day", Date, nullable=False),
    Column("rows", BigInteger, nullable=False, comment="In the table afterwards."),
    Column("new", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("withdrawn", BigInteger, nullable=False, comment="Or back again."),
    comment="What each publication did to each table.",
)

check_figures = Table(
    "check_figures",
    metadata,
    Column("run_id", Text, primary_key=True, comment="Dagster's."),
    Column("asset", Text, primary_key=True),
    Column("check_name", Text, primary_key=True),
    Column("stage", Text, nullable=False),
    Column("checked_at", OurMoment, nullable=False, index=True),
    Column("result", Text, nullable=False, comment="passed, warned or failed."),
    Column("rows", BigInteger, comment="Looked at; null: it is not about rows."),
    Column("unexpected", BigInteger, comment="Of them, those that break it."),
    comment="The result of each check of a run.",
)

source_figures = Table(
    "source_figures",
    metadata,
    Column("asked_at", OurMoment, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("seconds", Double, nullable=False, comment="Of all that were answered, together."),
    Column(
        "buckets",
        ARRAY(BigInteger),
        nullable=False,
        comment="How many took so long: see `ingest/request_times.py`.",
    ),
    Column("failures", BigInteger, nullable=False, comment="Not answered with a page."),
    comment="Requests to the source, a row for each pull; the oldest holds all that were before.",
)

size_figures = Table(
    "size_figures",
    metadata,
    Column("day", Date, primary_key=True),
    Column("store", Text, primary_key=True, comment="postgres or lake."),
    Column("part", Text, primary_key=True, comment="A table, or a folder of the lake."),
    Column("bytes", BigInteger, nullable=False),
    comment="How large tables and files are, a day: the last measurement of it.",
)
