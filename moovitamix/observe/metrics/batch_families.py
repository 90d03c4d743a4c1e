"""The metrics of runs and data, which the exporter reads from what runs have left behind.

Those of models and lists are in `model_families.py`. A time is told as the moment it is counted
from: `time()` less it is the age.
"""

from __future__ import annotations

from moovitamix.ingest.contract import ENDPOINTS
from moovitamix.ingest.request_times import BUCKETS
from moovitamix.observe.metrics.family import Family, Kind, Label, Unit

STAGES = ("ingest", "warehouse", "recommend", "serve", "observe", "upkeep")
QUARANTINE_REASONS = ("unknown user", "unknown track", "missing field", "type", "date", "other")
STAGE = Label("stage", STAGES)
STEP = Label("step", source="ops of the code location")
ENDPOINT = Label("endpoint", tuple(one.name for one in ENDPOINTS))
TABLE = Label("table", source="tables of the warehouse and of its staging area")


def _family(
    name: str,
    kind: Kind,
    unit: Unit,
    text: str,
    *labels: Label,
    buckets: tuple[float, ...] = (),
) -> Family:
    return Family(f"moovitamix_{name}", kind, unit, text, labels, "batch", buckets)


def _gauge(name: str, unit: Unit, text: str, *labels: Label) -> Family:
    return _family(name, "gauge", unit, text, *labels)


EXPORTER_UP = _gauge(
    "exporter_up",
    "",
    "Whether a store answered when the figures were read: 1 or 0. Where 0, its figures are absent.",
    Label("store", ("postgres", "redis", "lake")),
)
EXPORTER_PART = _gauge(
    "exporter_part_read",
    "",
    "Whether a part of Postgres' figures could be read: 1 or 0. Where 0, its figures are absent.",
    Label("part", ("runs", "quality", "models", "coverage")),
)
COLLECTION = _gauge(
    "exporter_collection_seconds", "seconds", "How long it took to read all these figures."
)

# How runs do
STEP_SECONDS = _gauge(
    "step_seconds", "seconds", "How long a step took when it last ran.", STAGE, STEP
)
STEP_CPU = _gauge(
    "step_cpu_seconds",
    "seconds",
    "Processor time of a step when it last ran, of all threads and children of its process.",
    STAGE,
    STEP,
)
STEP_MEMORY = _gauge(
    "step_peak_memory_bytes",
    "bytes",
    "The most memory that the process of a step held while it last ran.",
    STAGE,
    STEP,
)
STEP_ROWS = _gauge(
    "step_rows_per_second",
    "rows_per_second",
    "Rows, lists or pairs that a step made when it last ran, by its seconds; of the step "
    "`generation`: the rate of publication.",
    STAGE,
    STEP,
)
STEP_END = _gauge(
    "step_success_timestamp_seconds",
    "timestamp_seconds",
    "When a step last succeeded.",
    STAGE,
    STEP,
)
STEP_FAILED = _gauge(
    "step_failed", "", "Whether a step failed when it last ran: 1 or 0.", STAGE, STEP
)
SOURCE_REQUESTS = _family(
    "source_request_duration_seconds",
    "histogram",
    "seconds",
    "How long the source took to answer with a page.",
    ENDPOINT,
    buckets=BUCKETS,
)
SOURCE_FAILURES = _family(
    "source_request_failures_total",
    "counter",
    "",
    "Requests that the source did not answer with a page; most are tried again.",
    ENDPOINT,
)

# Quality
UNKNOWN_FIELDS = _gauge(
    "source_unknown_fields",
    "",
    "Fields beyond the contract in the newest pull's records: schema drift.",
    ENDPOINT,
)
QUALITY = _gauge(
    "table_quality_ratio",
    "ratio",
    "Of the rows last judged, the share that keeps the rule of a kind that most rows break.",
    TABLE,
    Label("dimension", ("completeness", "validity", "consistency")),
)
CHECKS = _gauge(
    "checks",
    "",
    "Checks by the result when they last ran; `warned`: failed, and did not hold anything back.",
    STAGE,
    Label("result", ("passed", "warned", "failed")),
)
CHECK_PASSED = _gauge(
    "check_passed",
    "",
    "Whether a check passed when it last ran: 1 or 0.",
    Label("asset", source="assets of the code location"),
    Label("check", source="their checks"),
)
QUARANTINE = _gauge(
    "quarantine_rows",
    "rows",
    "Rows that wait in quarantine.",
    Label("endpoint", (*ENDPOINT.values, "listens")),
    Label("reason", QUARANTINE_REASONS),
)
BLOCKED_DAYS = _gauge("blocked_days", "", "Days that are held back by their checks.")
ALERTS = _gauge(
    "alerts_open", "", "Open alerts.", Label("severity", ("critical", "warning", "info"))
)
ALERTS_LOOKED = _gauge(
    "alerts_looked_timestamp_seconds",
    "timestamp_seconds",
    "When the sensor `alerts` last looked around; absent where no daemon ever ran.",
)

# Volume
LOAD_ROWS = _gauge(
    "load_rows",
    "rows",
    "Rows that the newest publication changed.",
    TABLE,
    Label("change", ("new", "changed", "withdrawn")),
)
TABLE_ROWS = _gauge("table_rows", "rows", "Rows after the newest publication.", TABLE)
NEWEST_DAY = _gauge(
    "published_timestamp_seconds", "timestamp_seconds", "The end of the newest published day."
)
STORE_BYTES = _gauge(
    "store_bytes",
    "bytes",
    "Size: of tables with their indexes, of the lake by folder, of what Redis holds.",
    Label("store", ("postgres", "lake", "redis")),
    Label("part", source="tables; folders of the lake; `all`"),
)
STORE_GROWTH = _gauge(
    "store_growth_bytes_per_day",
    "bytes_per_day",
    "How much a store grew a day, over the last week that it was measured.",
    Label("store", ("postgres", "lake", "redis")),
)

RUN_FAMILIES = (
    EXPORTER_UP,
    EXPORTER_PART,
    COLLECTION,
    STEP_SECONDS,
    STEP_CPU,
    STEP_MEMORY,
    STEP_ROWS,
    STEP_END,
    STEP_FAILED,
    SOURCE_REQUESTS,
    SOURCE_FAILURES,
    UNKNOWN_FIELDS,
    QUALITY,
    CHECKS,
    CHECK_PASSED,
    QUARANTINE,
    BLOCKED_DAYS,
    ALERTS,
    ALERTS_LOOKED,
    LOAD_ROWS,
    TABLE_ROWS,
    NEWEST_DAY,
    STORE_BYTES,
    STORE_GROWTH,
)
