"""The metrics of models, of what is served and of what became of it, read by the exporter.

Those of runs and data are in `batch_families.py`.
"""

from __future__ import annotations

from moovitamix.observe.metrics.family import Family, Label, Unit

# As answers name them, or feedback without one; what an app makes up is `other`.
TIERS = (
    "cached top-N",
    "cached similar",
    "live fold-in",
    "live factors",
    "popular in favourite genres",
    "popular in genre",
    "popular",
    "nothing yet",
    "",
    "other",
)

ROLE = Label("role", ("champion", "challenger"))
ARM = Label("arm", ("champion", "challenger", "", "other"))


def _gauge(name: str, unit: Unit, text: str, *labels: Label) -> Family:
    return Family(f"moovitamix_{name}", "gauge", unit, text, labels, "batch")


MODEL_QUALITY = _gauge(
    "model_quality",
    "",
    "Figures at k of the evaluation of the champion, and of the newest other version that was "
    "judged (challenger), next to popularity on the same users.",
    ROLE,
    Label("ranker", ("candidate", "popularity")),
    Label("task", ("discovery", "replay")),
    Label("measure", source="measures of docs/model.md: ndcg, map, recall, coverage, novelty"),
)
MODEL_DATA = _gauge(
    "model_data_timestamp_seconds",
    "timestamp_seconds",
    "The end of the last day of a version's data.",
    ROLE,
)
MODEL_PROMOTED = _gauge(
    "model_promoted_timestamp_seconds", "timestamp_seconds", "When the champion was promoted."
)
MATRIX_DATA = _gauge(
    "matrix_data_timestamp_seconds",
    "timestamp_seconds",
    "The end of the last day of the current matrix.",
)
GENERATION = _gauge(
    "generation_timestamp_seconds",
    "timestamp_seconds",
    "Of the generation that is served: the end of its data's last day, when it was written, when "
    "it expires.",
    Label("moment", ("data", "published", "expires")),
)
DRIFT = _gauge(
    "drift_value",
    "",
    "Of the newest day that was read, against the champion's data; absent from a promotion until "
    "the next day is read. What it is called steady by is in `drift_threshold`.",
    Label("feature", source="features of docs/drift.md"),
)
DRIFT_THRESHOLD = _gauge(
    "drift_threshold",
    "",
    "From where on a feature is a warning, or has drifted; `quality` drifts downwards.",
    Label("feature", source="features of docs/drift.md"),
    Label("level", ("warning", "drifted")),
)
DRIFT_VERDICT = _gauge(
    "drift_features",
    "",
    "Features of the newest day that was read, against the champion's data, by verdict.",
    Label("verdict", ("steady", "warning", "drifted", "cannot tell")),
)
DRIFT_DAY = _gauge(
    "drift_day_timestamp_seconds",
    "timestamp_seconds",
    "The end of the newest day that was read for drift.",
)

# Serving and what became of it
CACHE_LISTS = _gauge(
    "cache_lists",
    "",
    "Lists of the generation that is served, with those that folding in has added to it.",
    Label("kind", ("users", "repeats", "genres of users", "tracks", "popular")),
)
COVERAGE = _gauge(
    "cache_coverage_ratio",
    "ratio",
    "Of users that are not withdrawn, those with lists of their own, published or folded in; of "
    "tracks, those with similar ones.",
    Label("kind", ("users", "tracks")),
)
ONLINE_IMPRESSIONS = _gauge(
    "online_impressions",
    "",
    "Tracks shown on the last seven days that were counted.",
    ARM,
    Label("tier", TIERS),
)
ONLINE = _gauge(
    "online_reactions_ratio",
    "ratio",
    "Of the tracks shown on the last seven days that were counted, those that were followed by it "
    "within 24 hours.",
    ARM,
    Label("tier", TIERS),
    Label("reaction", ("click", "skip", "hide", "listen")),
)

MODEL_FAMILIES = (
    MODEL_QUALITY,
    MODEL_DATA,
    MODEL_PROMOTED,
    MATRIX_DATA,
    GENERATION,
    DRIFT,
    DRIFT_THRESHOLD,
    DRIFT_VERDICT,
    DRIFT_DAY,
    CACHE_LISTS,
    COVERAGE,
    ONLINE_IMPRESSIONS,
    ONLINE,
)
