"""Under which series each alert of Prometheus is quiet, and under which it fires."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """Series under which an alert is quiet at one time and fires at another.

    Attributes:
        series: By selector, values in promtool's notation, one a step.
        quiet: The step when it does not fire.
        fires: The step when it does.
        step: In minutes.
    """

    series: dict[str, str]
    quiet: int
    fires: int
    step: int = 1


def m(name: str, labels: str = "") -> str:
    return f"moovitamix_{name}{{{labels}}}" if labels else f"moovitamix_{name}"


def _up(job: str, minutes: int) -> Case:
    return Case({f'up{{job="{job}",instance="x"}}': "1x5 0x60"}, 5, 6 + minutes)


def _store(store: str, minutes: int) -> Case:
    return Case({m("exporter_up", f'store="{store}"'): "1x5 0x60"}, 5, 6 + minutes)


DAY = 24 * 60
TWO_HOURS_A_WEEK = 7 * 12
_PERSONAL = 'route="/users/{id}/recommendations",status="200",tier='
_NDCG = 'role="champion",task="discovery",measure="ndcg",ranker='
_CLICKS = 'arm="",tier="popular"'

CASES = {
    "MoovitamixApiDown": _up("moovitamix-api", 2),
    "MoovitamixExporterDown": _up("moovitamix-batch", 10),
    "MoovitamixFiguresMissing": Case({m("exporter_part_read", 'part="runs"'): "1x5 0x60"}, 5, 17),
    "MoovitamixPostgresDown": _store("postgres", 5),
    "MoovitamixDaemonSilent": Case({m("alerts_looked_timestamp_seconds"): "0x60"}, 14, 18),
    "MoovitamixRedisDown": _store("redis", 2),
    "MoovitamixLakeDown": _store("lake", 10),
    # The clock of promtool begins at 0.
    "MoovitamixDayLate": Case({m("published_timestamp_seconds"): "-106000x60"}, 20, 50),
    "MoovitamixDayBlocked": Case({m("blocked_days"): "0x5 1x60"}, 5, 17),
    "MoovitamixStepFailed": Case({m("step_failed", 'step="pull"'): "0x5 1x60"}, 5, 17),
    "MoovitamixStepSlow": Case({m("step_seconds", 'step="pull"'): "30x60 200x40"}, 60, 75),
    "MoovitamixCheckFailed": Case(
        {m("checks", 'stage="serve",result="failed"'): "0x5 2x60"}, 5, 17
    ),
    "MoovitamixSourceFails": Case(
        {
            m("source_request_failures_total", 'endpoint="users"'): "0x10 0+1x60",
            m("source_request_duration_seconds_count", 'endpoint="users"'): "0+1x70",
        },
        10,
        50,
    ),
    "MoovitamixSourceSlow": Case(
        {
            m("source_request_duration_seconds_bucket", f'endpoint="users",le="{le}"'): values
            for le, values in {
                "1.0": "0+1x10 10x60",
                "10.0": "0+1x10 10+5x60",
                "+Inf": "0+1x10 10+5x60",
            }.items()
        },
        8,
        40,
    ),
    "MoovitamixSchemaDrift": Case(
        {m("source_unknown_fields", 'endpoint="users"'): "0x5 1x60"}, 5, 12
    ),
    "MoovitamixQuarantineGrows": Case(
        {m("quarantine_rows", 'endpoint="users",reason="type"'): "10x100 90x60"}, 100, 140
    ),
    "MoovitamixQualityFallen": Case(
        {m("table_quality_ratio", 'table="users",dimension="validity"'): "1x5 0.9x60"}, 5, 17
    ),
    "MoovitamixStoreGrows": Case(
        {
            m("store_growth_bytes_per_day", 'store="lake"'): "1e9x200",
            m("store_bytes", 'store="lake",part="raw"'): "5e9x20 20e9x200",
        },
        20,
        90,
    ),
    "MoovitamixChampionOld": Case(
        {m("model_data_timestamp_seconds", 'role="champion"'): f"-{14 * DAY * 60 - 600}x200"},
        9,
        80,
    ),
    "MoovitamixMatrixOld": Case(
        {m("matrix_data_timestamp_seconds"): f"-{2 * DAY * 60 - 600}x200"}, 9, 80
    ),
    "MoovitamixDrift": Case({m("drift_features", 'verdict="drifted"'): "0x5 1x60"}, 5, 25),
    "MoovitamixWorseThanPopularity": Case(
        {
            m("model_quality", _NDCG + '"candidate"'): "0.2x5 0.1x60",
            m("model_quality", _NDCG + '"popularity"'): "0.15x65",
        },
        5,
        25,
    ),
    "MoovitamixClickThroughFallen": Case(
        {
            m("online_reactions_ratio", _CLICKS + ',reaction="click"'): (
                f"0.1x{TWO_HOURS_A_WEEK} 0.02x12"
            ),
            m("online_impressions", _CLICKS): f"1000x{TWO_HOURS_A_WEEK + 12}",
        },
        TWO_HOURS_A_WEEK,
        TWO_HOURS_A_WEEK + 2,
        step=120,
    ),
    "MoovitamixNothingServed": Case(
        {
            m("exporter_up", 'store="redis"'): "1x200",
            m("model_promoted_timestamp_seconds"): "1x200",
            m("generation_timestamp_seconds", 'moment="expires"'): "90000x5 stale",
        },
        5,
        80,
    ),
    "MoovitamixListsExpiring": Case(
        {m("generation_timestamp_seconds", 'moment="expires"'): "22000x60"}, 5, 20
    ),
    "MoovitamixCoverageFallen": Case(
        {m("cache_coverage_ratio", 'kind="users"'): "0.9x100 0.5x60"}, 100, 140
    ),
    "MoovitamixApiErrors": Case(
        {
            m("http_requests_total", 'status="200"'): "0+60x60",
            m("http_requests_total", 'status="503"'): "0x10 0+10x50",
        },
        10,
        25,
    ),
    "MoovitamixApiSlow": Case(
        {
            m("http_request_duration_seconds_bucket", f'route="/tracks/popular",le="{le}"'): values
            for le, values in {
                "0.1": "0+60x20 1200x60",
                "1.0": "0+60x80",
                "+Inf": "0+60x80",
            }.items()
        },
        20,
        45,
    ),
    "MoovitamixAnswersImpersonal": Case(
        {
            m("http_requests_total", _PERSONAL + '"cached top-N"'): "0+60x20 1200x80",
            m("http_requests_total", _PERSONAL + '"popular"'): "0+1x20 20+60x80",
        },
        20,
        60,
    ),
    "MoovitamixBreakerOpen": Case({m("store_breaker_state", 'store="redis"'): "0x5 2x60"}, 5, 10),
    "MoovitamixStoreFails": Case(
        {m("store_failures_total", 'store="postgres"'): "0x5 0+60x60"}, 5, 30
    ),
    "MoovitamixSnapshotStale": Case(
        {m("snapshot_timestamp_seconds", 'part="model"'): "1x200"}, 50, 80
    ),
    "MoovitamixListensNotFoldedIn": Case({m("fold_ins_waiting"): "0x5 9000x60"}, 5, 20),
}
