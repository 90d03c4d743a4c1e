"""Rules of Prometheus and Alertmanager: understood by their own tools, and each alert fires."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from moovitamix.observe.metrics.registry import BY_NAME
from moovitamix_tests.observe.metrics.rule_cases import CASES, Case
from moovitamix_tests.observe.metrics.scraping import installed, prometheus, until

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
    command = [installed(name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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


def test_alerts_link_to_where_people_read_the_runbook(tmp_path: Path) -> None:
    wiki = "https://wiki.example.com/runbook"
    nobody = "127.0.0.1:1"
    environment = {"MOOVITAMIX_RUNBOOK_URL": wiki}
    with prometheus(tmp_path, batch=nobody, api=nobody, environment=environment) as client:

        def links() -> set[str]:
            alerts = client.get("/api/v1/alerts").json()["data"]["alerts"]
            return {alert["annotations"]["runbook_url"] for alert in alerts}

        until(lambda: bool(links()))
        assert links() == {f"{wiki}#figures-are-missing"}


def test_no_alert_carries_the_address_of_the_runbook_as_a_label() -> None:
    ours = msgspec.yaml.decode((PROMETHEUS / "prometheus.yml").read_text())
    assert set(ours["global"]["external_labels"]) == {"runbook"}
    assert ours["alerting"]["alert_relabel_configs"] == [
        {"action": "labeldrop", "regex": "runbook"}
    ]


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
        assert (page, entry) == ("{{ $externalLabels.runbook }}", table[name])
        assert entry in entries
