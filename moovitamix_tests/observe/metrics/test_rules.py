"""Rules of Prometheus and Alertmanager: understood by their own tools, and each alert fires."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from moovitamix.observe.metrics.registry import BY_NAME

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RULES = [
    rule
    for file in sorted((PROMETHEUS / "rules").glob("*.yml"))
    for group in msgspec.yaml.decode(file.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = {rule["record"]: rule for rule in RULES if "record" in rule}


def tool(name: str, *arguments: str) -> str:
    """What a tool of Prometheus prints; skipped, loudly, where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"NOT CHECKED: {name} is not installed (apt-get install prometheus).")
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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
    "MoovitamixPostgresDown": _store("postgres", 5),
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


def test_every_alert_is_tried() -> None:
    assert set(CASES) == set(ALERTS)


def test_every_alert_is_quiet_before_and_fires_after(tmp_path: Path) -> None:
    rules = [str(file) for file in sorted((PROMETHEUS / "rules").glob("*.yml"))]
    written = []
    for step in {case.step for case in CASES.values()}:
        tests = [_promtool(pack, step) for pack in _packs(step)]
        file = tmp_path / f"every-{step}-minutes.yml"
        file.write_bytes(
            msgspec.yaml.encode(
                {"rule_files": rules, "evaluation_interval": f"{step}m", "tests": tests}
            )
        )
        written.append(str(file))
    tool("promtool", "test", "rules", *written)


def _packs(step: int) -> list[dict[str, Case]]:
    """Cases that know nothing of each other's metrics, tried together: it takes a fifth."""
    packs: list[tuple[set[str], dict[str, Case]]] = []
    for name, case in CASES.items():
        if case.step != step:
            continue
        told = " ".join([*case.series, ALERTS[name]["expr"]])
        metrics = set(re.findall(r"\b(?:up|moovitamix_[a-z_]+)\b", told))
        fitting = next((one for one in packs if not one[0] & metrics), None)
        if fitting is None:
            packs.append(fitting := (set(), {}))
        fitting[0].update(metrics)
        fitting[1][name] = case
    return [pack for _, pack in packs]


def _promtool(pack: dict[str, Case], step: int) -> dict[str, Any]:
    return {
        "name": ", ".join(pack),
        "interval": f"{step}m",
        "input_series": [
            {"series": series, "values": values}
            for case in pack.values()
            for series, values in case.series.items()
        ],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)',
                "eval_time": f"{steps * step}m",
                "exp_samples": [{"labels": "{}", "value": value}],
            }
            for name, case in pack.items()
            for steps, value in ((case.quiet, 0), (case.fires, 1))
        ],
    }


def test_prometheus_understands_its_configuration(tmp_path: Path) -> None:
    copy = tmp_path / "prometheus"
    shutil.copytree(PROMETHEUS, copy)
    (copy / "api-key").write_text("a key")  # the deployment's own, not in the repository
    told = tool("promtool", "check", "config", str(copy / "prometheus.yml"))
    assert "2 rule files found" in told


def test_alertmanager_understands_its_configuration_and_that_of_the_docs(tmp_path: Path) -> None:
    tool("amtool", "check-config", str(ALERTMANAGER))
    told = (ROOT / "docs" / "metrics.md").read_text()
    (example,) = re.findall(r"```yaml\n(receivers:.*?)```", told, re.DOTALL)
    ours = msgspec.yaml.decode(ALERTMANAGER.read_text())
    written = tmp_path / "alertmanager.yml"
    written.write_bytes(msgspec.yaml.encode({**ours, **msgspec.yaml.decode(example)}))
    tool("amtool", "check-config", str(written))


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "on-call"), ("warning", "team"), ("info", "team")]
)
def test_alerts_go_to_whom_they_concern(severity: str, receiver: str) -> None:
    asked = ("config", "routes", "test", f"--config.file={ALERTMANAGER}", f"severity={severity}")
    assert tool("amtool", *asked).split() == [receiver]


def test_what_is_kept_back_by_another_alert_exists() -> None:
    patterns = [
        matcher.split("=", 1)[1].lstrip("~").strip('"')
        for rule in msgspec.yaml.decode(ALERTMANAGER.read_text())["inhibit_rules"]
        for matcher in (*rule["source_matchers"], *rule["target_matchers"])
    ]
    for pattern in patterns:
        names = re.sub(r"(\w+)\((.*)\)", lambda found: "|".join(
            found.group(1) + end for end in found.group(2).split("|")), pattern)  # fmt: skip
        assert set(names.split("|")) <= set(ALERTS)


def test_rules_name_metrics_that_are_produced() -> None:
    known = set(BY_NAME) | {
        family.name + ending
        for family in BY_NAME.values()
        if family.kind == "histogram"
        for ending in ("_bucket", "_count", "_sum")
    }
    for rule in RULES:
        expression = re.sub(r'"[^"]*"', "", rule["expr"])
        assert set(re.findall(r"[a-z_]+:[a-z_:0-9]+", expression)) <= set(RECORDS)
        bare = re.sub(r"[a-z_]+:[a-z_:0-9]+", "", expression)
        assert set(re.findall(r"moovitamix_[a-z_]+", bare)) <= known, rule


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    entries = {
        title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", runbook, re.MULTILINE)
    }
    table = dict(
        re.findall(r"^\| `(Moovitamix\w+)` \|.*\]\(#([a-z-]+)\) \|$", runbook, re.MULTILINE)
    )
    assert set(table) == set(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["for"]
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        page, _, entry = rule["annotations"]["runbook_url"].partition("#")
        assert (page, entry) == ("docs/runbook.md", table[name])
        assert entry in entries
