"""The metrics that the HTTP API counts while it answers. Counting: `serve/http/metrics.py`."""

from __future__ import annotations

from moovitamix.observe.metrics.family import Family, Kind, Label, Unit

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_KEYS = (2, 4, 8, 16, 32, 64, 128, 256, 512)

ROUTE = Label("route", source="paths of the API with names for ids, or `other`")
TIER = Label("tier", source="tiers of an answer, or empty: docs/serving.md")
STORE = Label("store", ("redis", "postgres"))
PART = Label("part", ("snapshot", "popular", "names", "removals", "model", "challenger"))


def _family(
    name: str,
    kind: Kind,
    unit: Unit,
    text: str,
    *labels: Label,
    buckets: tuple[float, ...] = (),
) -> Family:
    return Family(f"moovitamix_{name}", kind, unit, text, labels, "api", buckets)


REQUESTS = _family(
    "http_requests_total",
    "counter",
    "",
    "Requests answered, by route, tier of the answer and status.",
    ROUTE,
    TIER,
    Label("status", source="statuses of HTTP that the API answers with"),
)
DURATION = _family(
    "http_request_duration_seconds",
    "histogram",
    "seconds",
    "Time from the request's head to the end of the answer.",
    ROUTE,
    TIER,
    buckets=_SECONDS,
)
REFUSED = _family(
    "http_refused_total",
    "counter",
    "",
    "Requests refused before they reached a route, or not read to their end.",
    Label("reason", ("key", "scope", "origin", "rate", "size", "time", "malformed")),
)
CACHE_READS = _family(
    "cache_reads_total",
    "counter",
    "",
    "Values read from Redis: there, missing, or damaged or of an unknown version.",
    Label("result", ("hit", "miss", "damaged")),
)
CACHE_BATCH = _family(
    "cache_batch_keys",
    "histogram",
    "",
    "Keys asked for in one round trip to Redis.",
    buckets=_KEYS,
)
STORE_FAILURES = _family(
    "store_failures_total", "counter", "", "Calls that a store did not answer.", STORE
)
BREAKER = _family(
    "store_breaker_state",
    "gauge",
    "",
    "Of the circuit breaker: 0 closed, 1 half-open, 2 open.",
    Label("store", ("redis",)),
)
SNAPSHOT = _family(
    "snapshot_timestamp_seconds",
    "gauge",
    "timestamp_seconds",
    "When a part of what the process holds was last known to be up to date.",
    PART,
)
SNAPSHOT_FAILURES = _family(
    "snapshot_failures_total",
    "counter",
    "",
    "Attempts to bring a part of what the process holds up to date that failed.",
    PART,
)
FOLD_INS = _family(
    "fold_ins_total",
    "counter",
    "",
    "Users whose lists were made anew because something new was known of them.",
)
FOLD_IN = _family(
    "fold_in_seconds",
    "histogram",
    "seconds",
    "Time from the acknowledgement of a listen to the lists that know it; of a batch of "
    "users that of who waited longest.",
    buckets=_SECONDS,
)
FOLD_IN_FAILURES = _family(
    "fold_in_failures_total",
    "counter",
    "",
    "Times when nobody could be folded in, for a store did not answer; it is done later.",
)
FOLD_INS_WAITING = _family(
    "fold_ins_waiting", "gauge", "", "Users whose lists are to be made anew."
)

API_FAMILIES = (
    REQUESTS,
    DURATION,
    REFUSED,
    CACHE_READS,
    CACHE_BATCH,
    STORE_FAILURES,
    BREAKER,
    SNAPSHOT,
    SNAPSHOT_FAILURES,
    FOLD_INS,
    FOLD_IN,
    FOLD_IN_FAILURES,
    FOLD_INS_WAITING,
)
