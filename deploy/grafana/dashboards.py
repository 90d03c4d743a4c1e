"""The dashboards as data, and the JSON files that Grafana reads: run it to write these.

A panel is a question and the expressions that answer it. Rules that panels share are recorded by
Prometheus (`deploy/prometheus/rules/recording.yml`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["timeseries", "stat", "bargauge", "table", "state-timeline"]

FOLDER = Path(__file__).parent / "dashboards"

_DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
_COLUMNS = 24


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A question and what answers it.

    Attributes:
        asks: The title, a question.
        answers: Expressions by legend; a legend may name labels, as `{{step}}`.
        unit: Of Grafana: s, bytes, percentunit, short, reqps, dateTimeFromNow …
        kind: How it is drawn.
        says: What a reader should know to judge it.
        width: Of 24 columns.
        height: In Grafana's rows.
        stacked: Whether series are added up.
        worse_above: From this value on it is shown in red.
        worse_below: Below this value it is shown in red.
    """

    asks: str
    answers: dict[str, str]
    unit: str
    kind: Kind = "timeseries"
    says: str = ""
    width: int = 8
    height: int = 8
    stacked: bool = False
    worse_above: float | None = None
    worse_below: float | None = None


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """Panels for one kind of reader.

    Attributes:
        uid: In its URL; also the name of its file.
        title: Of the dashboard.
        since: What of the past is shown.
        panels: In reading order.
    """

    uid: str
    title: str
    since: str
    panels: tuple[Panel, ...]


def _age(moment: str) -> str:
    return f"time() - {moment}"


PIPELINE = Dashboard(
    uid="moovitamix-pipeline",
    title="MoovitaMix: pipeline",
    since="now-14d",
    panels=(
        Panel(
            asks="How long ago did the newest published day end?",
            answers={"": _age("moovitamix_published_timestamp_seconds")},
            unit="s",
            kind="stat",
            says="A day is loaded in the night after it: up to 30 hours is as it should be.",
            width=6,
            height=4,
            worse_above=30 * 3600,
        ),
        Panel(
            asks="Which days are held back?",
            answers={"days": "moovitamix_blocked_days"},
            unit="short",
            kind="stat",
            says="`moovitamix days blocked` names them.",
            width=6,
            height=4,
            worse_above=1,
        ),
        Panel(
            asks="Does something need a person?",
            answers={"{{severity}}": "moovitamix_alerts_open"},
            unit="short",
            kind="stat",
            says="Open alerts of the sensor; `moovitamix alerts list` names them.",
            width=6,
            height=4,
            worse_above=1,
        ),
        Panel(
            asks="Do the stores answer?",
            answers={
                "{{store}}": "moovitamix_exporter_up",
                "figures of {{part}}": "moovitamix_exporter_part_read",
            },
            unit="bool_yes_no",
            kind="stat",
            width=6,
            height=4,
            worse_below=1,
        ),
        Panel(
            asks="How long ago did Dagster's daemon look for alerts?",
            answers={"ago": "time() - moovitamix_alerts_looked_timestamp_seconds"},
            unit="s",
            kind="stat",
            says="Once a minute. While it is dead or hangs nothing is loaded or told by itself.",
            width=6,
            height=4,
            worse_above=900,
        ),
        Panel(
            asks="Which steps failed when they last ran?",
            answers={"{{stage}} {{step}}": "moovitamix_step_failed"},
            unit="bool_yes_no",
            kind="state-timeline",
            worse_above=1,
            width=12,
        ),
        Panel(
            asks="How do checks end, by stage?",
            answers={"{{stage}} {{result}}": "sum by (stage, result) (moovitamix_checks)"},
            unit="short",
            kind="bargauge",
            width=6,
        ),
        Panel(
            asks="Which checks do not pass?",
            answers={"{{asset}} {{check}}": "moovitamix_check_passed == 0"},
            unit="bool_yes_no",
            kind="table",
            width=6,
        ),
        Panel(
            asks="How long ago did each step last succeed?",
            answers={"{{stage}} {{step}}": _age("moovitamix_step_success_timestamp_seconds")},
            unit="s",
            kind="bargauge",
            width=24,
        ),
        Panel(
            asks="How long does each step take?",
            answers={"{{step}}": "moovitamix_step_seconds"},
            unit="s",
            stacked=True,
            width=12,
        ),
        Panel(
            asks="How much of that is work, and not waiting?",
            answers={
                "{{step}}": "moovitamix_step_cpu_seconds / (moovitamix_step_seconds > 0)",
            },
            unit="percentunit",
            says="Processor seconds by seconds; above 1 where threads work side by side.",
            width=12,
        ),
        Panel(
            asks="How much memory does each step take?",
            answers={"{{step}}": "moovitamix_step_peak_memory_bytes"},
            unit="bytes",
            says="The most that its process held meanwhile.",
        ),
        Panel(
            asks="How many rows a second does each step make?",
            answers={"{{step}}": "moovitamix_step_rows_per_second"},
            unit="short",
            says="Of `generation`: lists published a second.",
        ),
        Panel(
            asks="How fast is the source?",
            answers={
                "{{endpoint}}, 95 %": "endpoint:moovitamix_source_request_duration_seconds:p95_1d"
            },
            unit="s",
            says="Of a day's requests for pages.",
        ),
        Panel(
            asks="How often does the source not answer?",
            answers={"{{endpoint}}": "endpoint:moovitamix_source_failures:ratio_1d"},
            unit="percentunit",
            worse_above=0.2,
        ),
        Panel(
            asks="What did the last publication bring?",
            answers={"{{table}} {{change}}": "moovitamix_load_rows"},
            unit="short",
        ),
        Panel(
            asks="How many rows are in each table?",
            answers={"{{table}}": "moovitamix_table_rows"},
            unit="short",
        ),
        Panel(
            asks="How good is what comes in?",
            answers={"{{table}} {{dimension}}": "moovitamix_table_quality_ratio"},
            unit="percentunit",
            says="Of the rows that were judged last, how many keep the rule that most break.",
            worse_below=0.95,
        ),
        Panel(
            asks="What waits in quarantine, and why?",
            answers={
                "{{endpoint}} {{reason}}": "sum by (endpoint, reason) (moovitamix_quarantine_rows)"
            },
            unit="short",
            stacked=True,
        ),
        Panel(
            asks="Does the source send what the contract does not name?",
            answers={"{{endpoint}}": "moovitamix_source_unknown_fields"},
            unit="short",
            worse_above=1,
        ),
        Panel(
            asks="How large are tables, lake and cache?",
            answers={"{{store}}": "store:moovitamix_store_bytes:sum"},
            unit="bytes",
        ),
        Panel(
            asks="Which tables and folders are largest?",
            answers={"{{store}} {{part}}": "topk(10, moovitamix_store_bytes)"},
            unit="bytes",
            kind="bargauge",
        ),
        Panel(
            asks="How fast do they grow?",
            answers={"{{store}} a day": "moovitamix_store_growth_bytes_per_day"},
            unit="bytes",
        ),
    ),
)

_NDCG = 'moovitamix_model_quality{task="discovery", measure="ndcg"}'

MODEL = Dashboard(
    uid="moovitamix-model",
    title="MoovitaMix: model",
    since="now-30d",
    panels=(
        Panel(
            asks="How old is the champion's data?",
            answers={"{{role}}": _age("moovitamix_model_data_timestamp_seconds")},
            unit="s",
            kind="stat",
            says="It is trained anew after a week.",
            width=6,
            height=4,
            worse_above=14 * 86_400,
        ),
        Panel(
            asks="When was it promoted?",
            answers={"": "moovitamix_model_promoted_timestamp_seconds * 1000"},
            unit="dateTimeFromNow",
            kind="stat",
            width=6,
            height=4,
        ),
        Panel(
            asks="How old is the matrix that lists are made from?",
            answers={"": _age("moovitamix_matrix_data_timestamp_seconds")},
            unit="s",
            kind="stat",
            width=6,
            height=4,
            worse_above=2 * 86_400,
        ),
        Panel(
            asks="Has the world moved on?",
            answers={"{{verdict}}": "moovitamix_drift_features"},
            unit="short",
            kind="stat",
            says="Features of the newest day that was read, by verdict.",
            width=6,
            height=4,
        ),
        Panel(
            asks="How well does it predict what users discover, and does popularity do better?",
            answers={"{{role}} {{ranker}}": _NDCG},
            unit="short",
            says="NDCG at k of the evaluation; intervals are with the asset model_evaluation.",
            width=12,
        ),
        Panel(
            asks="And what they hear again?",
            answers={
                "{{role}} {{ranker}}": 'moovitamix_model_quality{task="replay", measure="ndcg"}'
            },
            unit="short",
            width=12,
        ),
        Panel(
            asks="How much of the catalogue does it recommend?",
            answers={
                "{{role}} {{ranker}}": (
                    'moovitamix_model_quality{task="discovery", measure="coverage"}'
                )
            },
            unit="percentunit",
        ),
        Panel(
            asks="How far from the beaten track is it?",
            answers={
                "{{role}} {{ranker}}": (
                    'moovitamix_model_quality{task="discovery", measure="novelty"}'
                )
            },
            unit="short",
            says="Novelty in bits.",
        ),
        Panel(
            asks="How long does training take?",
            answers={"{{step}}": 'moovitamix_step_seconds{stage="recommend"}'},
            unit="s",
            stacked=True,
        ),
        Panel(
            asks="Which features drift?",
            answers={
                "{{feature}}": (
                    "moovitamix_drift_value"
                    ' / on (feature) (moovitamix_drift_threshold{level="drifted"} > 0)'
                )
            },
            unit="percentunit",
            says="By their threshold: from 1 on a feature has drifted; `quality` drifts below 1.",
            width=12,
            worse_above=1,
        ),
        Panel(
            asks="How old is the newest reading of drift?",
            answers={"": _age("moovitamix_drift_day_timestamp_seconds")},
            unit="s",
            kind="stat",
            width=12,
            height=4,
            worse_above=2 * 86_400,
        ),
        Panel(
            asks="What do people do with what they are shown?",
            answers={
                "{{reaction}}": (
                    "sum by (reaction) (moovitamix_online_reactions_ratio"
                    " * on (arm, tier) group_left moovitamix_online_impressions)"
                    " / on () group_left sum(moovitamix_online_impressions)"
                )
            },
            unit="percentunit",
            says="Of impressions of seven days, followed by it within 24 hours.",
            width=12,
        ),
        Panel(
            asks="Which tier is clicked, and which is skipped?",
            answers={
                "{{tier}} {{reaction}}": (
                    'moovitamix_online_reactions_ratio{reaction=~"click|skip"}'
                )
            },
            unit="percentunit",
        ),
        Panel(
            asks="How much was shown, by arm and tier?",
            answers={"{{arm}} {{tier}}": "moovitamix_online_impressions"},
            unit="short",
        ),
    ),
)

SERVING = Dashboard(
    uid="moovitamix-serving",
    title="MoovitaMix: serving",
    since="now-6h",
    panels=(
        Panel(
            asks="When do the lists expire?",
            answers={"": 'moovitamix_generation_timestamp_seconds{moment="expires"} - time()'},
            unit="s",
            kind="stat",
            width=6,
            height=4,
            worse_below=6 * 3600,
        ),
        Panel(
            asks="How old is what they know?",
            answers={"": _age('moovitamix_generation_timestamp_seconds{moment="data"}')},
            unit="s",
            kind="stat",
            width=6,
            height=4,
            worse_above=2 * 86_400,
        ),
        Panel(
            asks="Who has a list?",
            answers={"{{kind}}": "moovitamix_cache_coverage_ratio"},
            unit="percentunit",
            kind="stat",
            says="Users without listens have none of their own: they get what is popular.",
            width=6,
            height=4,
        ),
        Panel(
            asks="How many of the answers are errors of ours?",
            answers={"": "job:moovitamix_http_errors:ratio_rate5m"},
            unit="percentunit",
            kind="stat",
            width=6,
            height=4,
            worse_above=0.01,
        ),
        Panel(
            asks="How much is asked, and by which route?",
            answers={"{{route}}": "sum by (route) (route_tier:moovitamix_http_requests:rate5m)"},
            unit="reqps",
            stacked=True,
            width=12,
        ),
        Panel(
            asks="Which tiers answer?",
            answers={
                "{{tier}}": ('sum by (tier) (route_tier:moovitamix_http_requests:rate5m{tier!=""})')
            },
            unit="reqps",
            stacked=True,
            says="Popular tiers growing mean that lists are missing or Redis is down.",
            width=12,
        ),
        Panel(
            asks="How long do the slowest answers take?",
            answers={
                "{{route}} {{tier}}, 99 %": (
                    "route_tier:moovitamix_http_request_duration_seconds:p99_5m"
                )
            },
            unit="s",
            worse_above=0.25,
        ),
        Panel(
            asks="And one that is neither fast nor slow?",
            answers={
                "{{route}}, median": (
                    "histogram_quantile(0.5, sum by (route, le)"
                    " (rate(moovitamix_http_request_duration_seconds_bucket[$__rate_interval])))"
                )
            },
            unit="s",
        ),
        Panel(
            asks="What is answered, by status?",
            answers={
                "{{status}}": (
                    "sum by (status) (rate(moovitamix_http_requests_total[$__rate_interval]))"
                )
            },
            unit="reqps",
            stacked=True,
        ),
        Panel(
            asks="What is refused, and why?",
            answers={
                "{{reason}}": (
                    "sum by (reason) (rate(moovitamix_http_refused_total[$__rate_interval]))"
                )
            },
            unit="reqps",
        ),
        Panel(
            asks="Is there a list where one is looked for?",
            answers={"hits": "job:moovitamix_cache_hits:ratio_rate5m"},
            unit="percentunit",
        ),
        Panel(
            asks="How many keys go in one round trip to Redis?",
            answers={
                "mean": (
                    "sum(rate(moovitamix_cache_batch_keys_sum[$__rate_interval]))"
                    " / (sum(rate(moovitamix_cache_batch_keys_count[$__rate_interval])) > 0)"
                )
            },
            unit="short",
            says="Requests of one moment share a round trip: more under load.",
        ),
        Panel(
            asks="Which stores leave calls unanswered?",
            answers={
                "{{store}}": (
                    "sum by (store) (rate(moovitamix_store_failures_total[$__rate_interval]))"
                ),
                "breaker of {{store}}": "max by (store) (moovitamix_store_breaker_state)",
            },
            unit="short",
            says="The breaker: 0 closed, 1 half-open, 2 open.",
        ),
        Panel(
            asks="How soon do lists know what was just heard?",
            answers={
                "95 %": "job:moovitamix_fold_in_seconds:p95_15m",
                "users a second": "sum(rate(moovitamix_fold_ins_total[$__rate_interval]))",
            },
            unit="short",
            says="Seconds from the acknowledgement to the lists.",
        ),
        Panel(
            asks="Who waits for it, and does it fail?",
            answers={
                "users waiting": "sum(moovitamix_fold_ins_waiting)",
                "failures a second": (
                    "sum(rate(moovitamix_fold_in_failures_total[$__rate_interval]))"
                ),
            },
            unit="short",
        ),
        Panel(
            asks="Is what the API holds up to date?",
            answers={
                "{{part}}": "time() - min by (part) (moovitamix_snapshot_timestamp_seconds > 0)"
            },
            unit="s",
            says="`snapshot` is written when something has changed.",
        ),
        Panel(
            asks="What could not be brought up to date?",
            answers={
                "{{part}}": (
                    "sum by (part) (rate(moovitamix_snapshot_failures_total[$__rate_interval]))"
                )
            },
            unit="short",
        ),
        Panel(
            asks="How many lists are served?",
            answers={"{{kind}}": "moovitamix_cache_lists"},
            unit="short",
        ),
        Panel(
            asks="How much memory does Redis hold?",
            answers={"": 'moovitamix_store_bytes{store="redis"}'},
            unit="bytes",
        ),
    ),
)

DASHBOARDS = (PIPELINE, MODEL, SERVING)


def grafana_json(dashboard: Dashboard) -> dict[str, Any]:
    """A dashboard as Grafana reads it; panels are laid out in rows, in their order."""
    panels, column, row, tallest = [], 0, 0, 0
    for number, panel in enumerate(dashboard.panels, 1):
        if column + panel.width > _COLUMNS:
            column, row, tallest = 0, row + tallest, 0
        place = {"h": panel.height, "w": panel.width, "x": column, "y": row}
        panels.append(_panel(panel, number, place))
        column, tallest = column + panel.width, max(tallest, panel.height)
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["moovitamix"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "utc",
        "refresh": "1m",
        "time": {"from": dashboard.since, "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "title": "MoovitaMix",
                "tags": ["moovitamix"],
                "asDropdown": True,
            }
        ],
        "panels": panels,
    }


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    custom = {"stacking": {"mode": "normal"}, "fillOpacity": 20} if panel.stacked else {}
    return {
        "id": number,
        "title": panel.asks,
        "description": panel.says,
        "type": panel.kind,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _DATASOURCE,
                "expr": expression,
                "legendFormat": legend or "__auto",
                **({"instant": True, "format": "table"} if panel.kind == "table" else {}),
            }
            for index, (legend, expression) in enumerate(panel.answers.items())
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "custom": custom,
                "thresholds": {"mode": "absolute", "steps": _thresholds(panel)},
            },
            "overrides": [],
        },
        "options": _options(panel.kind),
    }


def _thresholds(panel: Panel) -> list[dict[str, Any]]:
    if panel.worse_above is not None:
        return [{"color": "green", "value": None}, {"color": "red", "value": panel.worse_above}]
    if panel.worse_below is not None:
        return [{"color": "red", "value": None}, {"color": "green", "value": panel.worse_below}]
    return [{"color": "blue", "value": None}]


def _options(kind: Kind) -> dict[str, Any]:
    newest = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom"}}
    if kind in ("stat", "bargauge"):
        return {"reduceOptions": newest, "orientation": "horizontal"}
    return {}


def write(folder: Path) -> None:
    """Write the dashboards, a file each."""
    for dashboard in DASHBOARDS:
        text = json.dumps(grafana_json(dashboard), indent=1, ensure_ascii=False)
        (folder / f"{dashboard.uid}.json").write_text(text + "\n")


if __name__ == "__main__":
    write(FOLDER)
