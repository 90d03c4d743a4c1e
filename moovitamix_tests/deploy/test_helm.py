"""deploy/helm: what Dagster and Kubernetes have types for is read with these.

The chart's own schema is in the chart: with `helm`, and the folder of an unpacked chart named by
MOOVITAMIX_HELM_CHART, the chart itself is asked.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes.client as k8s
import msgspec
import pytest
from dagster._config import process_config
from dagster_k8s.job import DagsterK8sJobConfig
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict

from moovitamix_tests.observe.metrics.scraping import installed

CHART = "MOOVITAMIX_HELM_CHART"
CHART_SET = os.environ.get(CHART)  # read before the tests clear what is ours
KINDS = {
    "Deployment": k8s.V1Deployment,
    "Service": k8s.V1Service,
    "PodDisruptionBudget": k8s.V1PodDisruptionBudget,
    "HorizontalPodAutoscaler": k8s.V2HorizontalPodAutoscaler,
}


@pytest.fixture(scope="module")
def values(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.yaml.decode((root / "deploy/helm/values.yaml").read_bytes())
    return found


@pytest.fixture(scope="module")
def manifests(root: Path) -> list[dict[str, Any]]:
    return parts_of(root / "deploy/helm/api.yaml")


@pytest.fixture(scope="module")
def exporter(root: Path) -> list[dict[str, Any]]:
    return parts_of(root / "deploy/helm/metrics.yaml")


def parts_of(file: Path) -> list[dict[str, Any]]:
    return [msgspec.yaml.decode(part) for part in file.read_text().split("\n---\n")]


@pytest.fixture(scope="module")
def code_location(values: dict[str, Any]) -> dict[str, Any]:
    (found,) = values["dagster-user-deployments"]["deployments"]
    assert isinstance(found, dict)
    return found


def snake(camel: str) -> str:
    return re.sub("(?=[A-Z])", "_", camel).lower()


def in_snakes(written: Any) -> Any:
    """Keys as dagster.yaml has them."""
    if not isinstance(written, Mapping):
        return written
    return {snake(key): in_snakes(value) for key, value in written.items()}


def read(model: type[Any], written: Any) -> None:
    """Read by the Kubernetes client's own type; what it does not know is an error."""
    k8s_model_from_dict(model, k8s_snake_case_dict(model, written))


def test_the_chart_sets_the_instance_as_the_deployment_by_compose_does(
    values: dict[str, Any], root: Path
) -> None:
    written = msgspec.yaml.decode((root / "deploy" / "dagster.yaml").read_bytes())
    chart = in_snakes(
        {
            "run_monitoring": values["dagsterDaemon"]["runMonitoring"],
            "run_retries": values["dagsterDaemon"]["runRetries"],
            "concurrency": {k: v for k, v in values["concurrency"].items() if k != "enabled"},
            "python_logs": values["pythonLogs"],
            "retention": {k: v for k, v in values["retention"].items() if k != "enabled"},
            "telemetry": values["telemetry"],
        }
    )
    assert chart["retention"]["sensor"]["purge_after_days"].pop("started") == -1  # never, as unset
    assert chart == {name: written[name] for name in chart}
    storage = written["storage"]["postgres"]["postgres_db"]
    assert values["postgresql"]["postgresqlScheme"] == storage["scheme"]


def test_dagster_takes_what_runs_are_launched_with(values: dict[str, Any]) -> None:
    launcher = values["runLauncher"]
    assert launcher["type"] == "K8sRunLauncher"
    config = launcher["config"]["k8sRunLauncher"]
    run = {snake(key): part for key, part in config["runK8sConfig"].items()}
    flat = {snake(key): part for key, part in config.items()}
    taken = process_config(
        dg.Field(DagsterK8sJobConfig.config_type_run_launcher()).config_type,  # type: ignore[no-untyped-call,unused-ignore]  # theirs
        {
            **flat,
            "run_k8s_config": run,
            "service_account_name": "dagster",
            "instance_config_map": "dagster-instance",
            "dagster_home": "/opt/dagster/dagster_home",
        },
    )
    assert taken.success, taken.errors
    read(k8s.V1Container, {"name": "dagster", **run["container_config"]})
    read(k8s.V1PodSpec, {"containers": [], **run["pod_spec_config"]})
    read(k8s.V1JobSpec, {"template": {}, **run["job_spec_config"]})


def test_kubernetes_takes_what_pods_are_made_of(
    values: dict[str, Any], code_location: dict[str, Any]
) -> None:
    for pod in (values["dagsterWebserver"], values["dagsterDaemon"], code_location):
        read(k8s.V1SecurityContext, pod["securityContext"])
        read(k8s.V1ResourceRequirements, pod["resources"])
        assert pod["securityContext"]["runAsNonRoot"]
    read(k8s.V1PodSecurityContext, code_location["podSecurityContext"])
    for model, name in (
        (k8s.V1EnvVar, "env"),
        (k8s.V1SecretEnvSource, "envSecrets"),
        (k8s.V1Volume, "volumes"),
        (k8s.V1VolumeMount, "volumeMounts"),
    ):
        for one in code_location[name]:
            read(model, one)


def test_kubernetes_takes_what_the_api_runs_by(manifests: list[dict[str, Any]]) -> None:
    assert [manifest["kind"] for manifest in manifests] == list(KINDS)
    for manifest in manifests:
        read(KINDS[manifest["kind"]], manifest)
    deployment, service, *others = manifests
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels == deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    assert str(port["containerPort"]) in container["command"]
    assert others[0]["spec"]["selector"]["matchLabels"] == labels
    assert others[1]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_kubernetes_takes_what_the_exporter_runs_by_and_prometheus_finds_it(
    manifests: list[dict[str, Any]], exporter: list[dict[str, Any]], root: Path, tmp_path: Path
) -> None:
    assert [manifest["kind"] for manifest in exporter] == ["Deployment", "Service", "Service"]
    for manifest in exporter:
        read(KINDS[manifest["kind"]], manifest)
    deployment, service, pods = exporter
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels == deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (port,), (exposed,) = container["ports"], service["spec"]["ports"]
    assert exposed["targetPort"] == port["name"]
    assert str(port["containerPort"]) in container["command"]

    page = (root / "docs" / "deployment.md").read_text()
    (example,) = re.findall(r"```yaml\n(scrape_configs:.*?)```", page, re.DOTALL)
    jobs = {job["job_name"]: job for job in msgspec.yaml.decode(example)["scrape_configs"]}
    ours = msgspec.yaml.decode((root / "deploy/prometheus/prometheus.yml").read_text())
    assert set(jobs) == {job["job_name"] for job in ours["scrape_configs"]}
    (target,) = jobs["moovitamix-batch"]["static_configs"][0]["targets"]
    assert target == f"{service['metadata']['name']}:{exposed['port']}"
    (found,) = jobs["moovitamix-api"]["dns_sd_configs"]
    api = manifests[0]["spec"]
    (reached,), (asked,) = api["template"]["spec"]["containers"][0]["ports"], pods["spec"]["ports"]
    assert found["names"] == [pods["metadata"]["name"]]
    assert found["port"] == asked["port"] == reached["containerPort"]
    assert asked["targetPort"] == reached["name"]
    assert pods["spec"]["selector"] == api["selector"]["matchLabels"]
    (tmp_path / "api-key").write_text("a key")
    (tmp_path / "prometheus.yml").write_text(example)
    told = subprocess.run(
        [installed("promtool"), "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_a_word_that_kubernetes_does_not_know_is_found(manifests: list[dict[str, Any]]) -> None:
    deployment = manifests[0]
    misspelt = {**deployment, "spec": {**deployment["spec"], "replica": 2}}
    with pytest.raises(Exception, match="replica"):
        read(k8s.V1Deployment, misspelt)


def test_everything_runs_the_same_image_and_sees_the_same_stores(
    values: dict[str, Any],
    code_location: dict[str, Any],
    manifests: list[dict[str, Any]],
    exporter: list[dict[str, Any]],
    root: Path,
) -> None:
    (api,) = manifests[0]["spec"]["template"]["spec"]["containers"]
    (metrics,) = exporter[0]["spec"]["template"]["spec"]["containers"]
    images = [pod["image"] for pod in (values["dagsterWebserver"], values["dagsterDaemon"])]
    images.append(code_location["image"])
    version = re.search(r'(?m)^version = "(.*)"', (root / "pyproject.toml").read_text())
    assert version is not None
    assert {f"{one['repository']}:{one['tag']}" for one in images} == {api["image"]}
    assert metrics["image"] == api["image"]
    assert api["image"].endswith(f":{version[1]}")
    theirs = {one["name"]: one["value"] for one in code_location["env"]}
    for container in (api, metrics):
        for one in container["env"]:
            assert theirs[one["name"]] == one["value"]
        secrets = [{"secretRef": secret} for secret in code_location["envSecrets"]]
        assert container["envFrom"] == secrets
        assert container["volumeMounts"] == code_location["volumeMounts"]


def test_no_secret_is_written_down(root: Path) -> None:
    for name in ("values.yaml", "api.yaml", "metrics.yaml"):
        text = (root / "deploy" / "helm" / name).read_text()
        found = re.findall(r"(?i)(\w*(?:password|token|secret)\w*): +([\w-]+)", text)
        known = {"generatePostgresqlPasswordSecret": "false"}  # but the name of one
        assert [one for one in found if known.get(one[0]) != one[1] and "Name" not in one[0]] == []


def test_the_chart_itself_takes_the_values(root: Path) -> None:
    helm = shutil.which("helm")
    if helm is None or CHART_SET is None:
        pytest.skip(
            "NOT CHECKED: whether the chart's schema takes deploy/helm/values.yaml; install helm, "
            f"`helm pull dagster/dagster --untar`, and set {CHART} to the folder"
        )
    outcome = subprocess.run(
        [helm, "template", "dagster", CHART_SET, "--values", "deploy/helm/values.yaml"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
