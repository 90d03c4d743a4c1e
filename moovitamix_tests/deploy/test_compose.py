"""What docker-compose.yml promises, asked of the real Compose."""

import re
import tomllib
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
import pytest

from moovitamix.settings import Settings

Services = dict[str, dict[str, Any]]


class Compose(Protocol):
    """The fixture of that name."""

    def run(self, *arguments: str, env: dict[str, str]) -> Any: ...
    def services(self, env: dict[str, str]) -> Services: ...


def test_the_file_is_valid(compose: Compose, required: dict[str, str]) -> None:
    outcome = compose.run("--profile", "*", "config", "--quiet", env=required)

    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize("missing", ["POSTGRES_PASSWORD", "MOOVITAMIX_SOURCE_URL"])
def test_a_required_variable_that_is_missing_stops_everything_and_is_named(
    compose: Compose, required: dict[str, str], missing: str
) -> None:
    for env in ({**required, missing: ""}, {k: v for k, v in required.items() if k != missing}):
        outcome = compose.run("config", "--quiet", env=env)

        assert outcome.returncode != 0
        assert missing in outcome.stderr
        assert "deploy/env.example" in outcome.stderr


def test_every_required_variable_is_in_the_example_and_the_password_is_left_to_fill_in(
    root: Path, required: dict[str, str]
) -> None:
    lines = (root / "deploy" / "env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    assert required.keys() <= example.keys()
    assert not example["POSTGRES_PASSWORD"]


def test_every_secret_comes_from_the_environment(
    services: Services, required: dict[str, str]
) -> None:
    password = required["POSTGRES_PASSWORD"]
    settings = [
        (f"{service}: {name}", name, value)
        for service, spec in services.items()
        for name, value in spec.get("environment", {}).items()
        if value is not None
    ]
    secrets = [
        (where, value)
        for where, name, value in settings
        if re.search("PASSWORD|SECRET|TOKEN|KEY", name)
    ]
    secrets += [
        (where, urlsplit(value).password)
        for where, _, value in settings
        if "://" in value and urlsplit(value).password is not None
    ]

    assert {value for _, value in secrets} == {password}, secrets


def test_an_option_that_is_not_set_reaches_the_container_unset_and_one_that_is_set_as_it_is(
    compose: Compose, required: dict[str, str], services: Services
) -> None:
    chosen = {**required, "MOOVITAMIX_NAMESPACE": "staging", "MOOVITAMIX_SOURCE_TOKEN": "t0ken"}

    unset = services["code-location"]["environment"]
    assert unset["MOOVITAMIX_NAMESPACE"] is None
    assert unset["MOOVITAMIX_SOURCE_TOKEN"] is None
    passed_on = compose.services(chosen)["code-location"]["environment"]
    assert passed_on["MOOVITAMIX_NAMESPACE"] == "staging"
    assert passed_on["MOOVITAMIX_SOURCE_TOKEN"] == "t0ken"


def test_every_service_has_a_health_check_or_says_why_not(services: Services, root: Path) -> None:
    written = msgspec.yaml.decode((root / "docker-compose.yml").read_bytes())["services"]

    assert written.keys() == services.keys()
    for name, spec in services.items():
        reason = written[name].get("x-no-healthcheck", "")
        assert spec.get("healthcheck", {}).get("test") or len(reason.split()) > 3, name


def test_a_service_starts_only_when_what_it_needs_is_healthy_or_done(services: Services) -> None:
    conditions = {
        (name, needed): how["condition"]
        for name, spec in services.items()
        for needed, how in spec.get("depends_on", {}).items()
    }

    assert conditions
    for (name, needed), condition in conditions.items():
        expected = (
            "service_healthy"
            if "healthcheck" in services[needed]
            else "service_completed_successfully"
        )
        assert condition == expected, (name, needed)


def test_every_image_is_pinned_to_a_version_and_ours_is_the_projects(
    services: Services, root: Path
) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]

    for name, spec in services.items():
        repository, _, tag = spec["image"].partition(":")
        # Of Postgres the second number is the patch.
        numbers = r"\d+\.\d+" if repository == "postgres" else r"v?\d+\.\d+\.\d+"
        assert re.fullmatch(numbers, tag), (name, spec["image"])
        if "build" in spec:
            assert (repository, tag) == ("moovitamix", project["version"]), name


def test_published_ports_are_on_loopback_because_the_ui_has_no_log_in(services: Services) -> None:
    ports = [port for spec in services.values() for port in spec.get("ports", [])]

    assert ports
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_only_the_platforms_own_processes_hold_the_lake_and_the_settings(
    services: Services,
) -> None:
    with_lake = {
        name
        for name, spec in services.items()
        for volume in spec.get("volumes", [])
        if volume["source"] == "lake"
    }
    with_addresses = {
        name
        for name, spec in services.items()
        if "MOOVITAMIX_DATABASE_URL" in spec.get("environment", {})
    }

    assert with_lake == with_addresses == {"code-location", "api", "metrics"}


def test_the_ui_reads_the_logs_where_runs_write_them(services: Services) -> None:
    def mounted_at(name: str) -> str:
        targets = [
            str(volume["target"])
            for volume in services[name]["volumes"]
            if volume["source"] == "compute-logs"
        ]
        assert len(targets) == 1
        return targets[0]

    assert mounted_at("webserver") == mounted_at("code-location") == "/opt/dagster/storage"


def test_whoever_loads_the_instance_gets_every_variable_that_it_names(
    services: Services, root: Path
) -> None:
    named = set(re.findall(r"env: (\w+)", (root / "deploy" / "dagster.yaml").read_text()))

    assert named
    for name in ("migrate", "code-location", "webserver", "daemon"):
        assert named <= services[name]["environment"].keys(), name


def test_the_workspace_names_the_service_and_port_that_serve_the_code(
    services: Services, root: Path
) -> None:
    workspace = msgspec.yaml.decode((root / "deploy" / "workspace.yaml").read_bytes())
    (location,) = workspace["load_from"]
    server = location["grpc_server"]
    command = services[server["host"]]["command"]

    assert command[command.index("--port") + 1] == str(server["port"])
    assert command[command.index("--location-name") + 1] == server["location_name"]


CORE = {"postgres", "valkey", "migrate", "code-location", "webserver", "daemon", "api"}
PROFILES = {
    "demo": {"source"},
    "mlflow": {"mlflow"},
    "observability": {
        *("metrics", "prometheus", "alertmanager", "grafana"),
        *("graylog", "mongodb", "opensearch"),
    },
}


def test_the_core_runs_as_it_is_and_the_rest_only_when_asked_for(
    compose: Compose, required: dict[str, str]
) -> None:
    def asked(*profiles: str) -> set[str]:
        chosen = [word for profile in profiles for word in ("--profile", profile)]
        return set(compose.run(*chosen, "config", "--services", env=required).stdout.split())

    assert asked() == CORE
    for profile, more in PROFILES.items():
        assert asked(profile) == CORE | more
    assert asked("*") == CORE.union(*PROFILES.values())


def test_the_api_listens_for_others_and_is_locked_until_there_is_a_key(services: Services) -> None:
    command = services["api"]["command"]

    assert command[command.index("--host") + 1] == "0.0.0.0"  # noqa: S104 - in its container
    assert "--locked" in command


def test_what_dagster_itself_logs_is_shipped_and_is_json_on_the_way_out(
    services: Services,
) -> None:
    for name in ("code-location", "webserver", "daemon"):
        command = services[name]["command"]
        shipped = command.index("moovitamix.observe.logs")
        assert command[shipped - 2 : shipped] == ["python", "-m"], name
        assert command[-2:] == ["--log-format", "json"], name
        assert "MOOVITAMIX_GELF_URL" in services[name]["environment"], name


def test_every_setting_reaches_a_service(services: Services) -> None:
    taken = {name for spec in services.values() for name in spec.get("environment", {})}
    known = {Settings.variable(field) for field in Settings.model_fields}

    # A simulated present is for trials.
    assert known - taken == {"MOOVITAMIX_NOW"}


def test_what_runs_and_the_api_have_to_agree_on_reaches_both(services: Services) -> None:
    agreed = {
        Settings.variable(field)
        for field in (
            *("namespace", "new_releases", "ui_url", "runbook_url", "late_after"),
            "mlflow_tracking_uri",  # a rollback by the console is mirrored too
        )
    }

    for name in ("code-location", "api"):
        assert agreed <= services[name]["environment"].keys(), name
    # These open no store of ours: what they log is stamped with the namespace all the same.
    for name in ("daemon", "webserver"):
        assert "MOOVITAMIX_NAMESPACE" in services[name]["environment"], name


def test_the_links_of_prometheus_lead_where_those_of_the_sensor_do(
    compose: Compose, required: dict[str, str], services: Services
) -> None:
    name, wiki = "MOOVITAMIX_RUNBOOK_URL", "https://wiki.example.com/runbook"
    default = Settings.model_fields["runbook_url"].default
    assert services["prometheus"]["environment"][name] == default

    chosen = compose.services({**required, name: wiki})
    assert {chosen[one]["environment"][name] for one in ("prometheus", "code-location")} == {wiki}


def test_every_variable_that_may_be_set_is_in_the_example(root: Path) -> None:
    written = (root / "docker-compose.yml").read_text()
    named = set(re.findall(r"(?<!\$)\$\{(\w+)", written))
    named |= set(re.findall(r"(?m)^ +([A-Z][A-Z0-9_]+):$", written))
    example = (root / "deploy" / "env.example").read_text()

    assert named - set(re.findall(r"(?m)^#?([A-Z][A-Z0-9_]+)=", example)) == set()


def test_what_is_kept_is_on_a_named_volume_and_what_is_ours_is_read_only(
    services: Services,
) -> None:
    for name, spec in services.items():
        for volume in spec.get("volumes", []):
            assert volume["type"] == "volume" or volume["read_only"], (name, volume)
