"""The environment becomes typed settings, or an error that names the variable and no secret."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from moovitamix.errors import SettingsError
from moovitamix.settings import Settings, get_settings

VARIABLES = {
    "MOOVITAMIX_HOME": ("elsewhere", "home", Path("elsewhere")),
    "MOOVITAMIX_SOURCE_URL": ("https://api.example.com", "source_url", "https://api.example.com"),
    "MOOVITAMIX_SOURCE_TOKEN": ("t0ken", "source_token", SecretStr("t0ken")),
    "MOOVITAMIX_SOURCE_TOKEN_HEADER": ("X-API-Key", "source_token_header", "X-API-Key"),
    "MOOVITAMIX_DATABASE_URL": (
        "postgresql://me:pw@db/music",
        "database_url",
        SecretStr("postgresql://me:pw@db/music"),
    ),
    "MOOVITAMIX_REDIS_URL": ("redis://:pw@cache", "redis_url", SecretStr("redis://:pw@cache")),
    "MOOVITAMIX_LAKE_URL": ("s3://bucket/lake", "lake_url", "s3://bucket/lake"),
    "MOOVITAMIX_NAMESPACE": ("staging", "namespace", "staging"),
    "MOOVITAMIX_FIRST_DAY": ("2025-02-03", "first_day", date(2025, 2, 3)),
    "MOOVITAMIX_KEEP_EXPORTS_DAYS": ("30", "keep_exports_days", 30),
    "MOOVITAMIX_KEEP_ACTIVITY_DAYS": ("9", "keep_activity_days", 9),
    "MOOVITAMIX_KEEP_FIGURES_DAYS": ("90", "keep_figures_days", 90),
    "MOOVITAMIX_KEEP_FEEDBACK_DAYS": ("30", "keep_feedback_days", 30),
    "MOOVITAMIX_KEEP_REPLACED_DAYS": ("7", "keep_replaced_days", 7),
    "MOOVITAMIX_ERASE_WITHDRAWN_AFTER_DAYS": ("3", "erase_withdrawn_after_days", 3),
    "MOOVITAMIX_KEEP_VERSIONS": ("3", "keep_versions", 3),
    "MOOVITAMIX_KEEP_DAYS": ("0", "keep_days", 0),
    "MOOVITAMIX_NEW_RELEASES": ("false", "new_releases", False),
    "MOOVITAMIX_TUNE": ("1h30m", "tune", timedelta(minutes=90)),
    "MOOVITAMIX_TUNE_FIRST": ("90s", "tune_first", timedelta(seconds=90)),
    "MOOVITAMIX_RETRAIN_AFTER_DAYS": ("14", "retrain_after_days", 14),
    "MOOVITAMIX_RETRAIN_COOL_DOWN_DAYS": ("3", "retrain_cool_down_days", 3),
    "MLFLOW_TRACKING_URI": (
        "https://me:pw@mlflow",
        "mlflow_tracking_uri",
        SecretStr("https://me:pw@mlflow"),
    ),
    "MOOVITAMIX_DRIFT_DAYS": ("14", "drift_days", 14),
    "MOOVITAMIX_API_KEYS": ("./keys", "api_keys", SecretStr("./keys")),
    "MOOVITAMIX_RATE_LIMIT": ("50", "rate_limit", 50.0),
    "MOOVITAMIX_ALERT_URLS": (
        "json://me:pw@hook mailto://me:pw@mail",
        "alert_urls",
        SecretStr("json://me:pw@hook mailto://me:pw@mail"),
    ),
    "MOOVITAMIX_REPORT_URLS": (
        "mailto://me:pw@mail",
        "report_urls",
        SecretStr("mailto://me:pw@mail"),
    ),
    "MOOVITAMIX_UI_URL": ("http://ui:3000", "ui_url", "http://ui:3000"),
    "MOOVITAMIX_RUNBOOK_URL": ("https://wiki/runbook", "runbook_url", "https://wiki/runbook"),
    "MOOVITAMIX_LATE_AFTER": ("90m", "late_after", timedelta(minutes=90)),
    "MOOVITAMIX_GELF_URL": ("gelf+tls://logs:12201", "gelf_url", "gelf+tls://logs:12201"),
    "MOOVITAMIX_LOG_FORMAT": ("json", "log_format", "json"),
    "MOOVITAMIX_LOG_KEY": ("0123456789abcdef", "log_key", SecretStr("0123456789abcdef")),
    "MOOVITAMIX_NOW": ("2026-11-22T08:00", "now", datetime(2026, 11, 22, 8, tzinfo=UTC)),
}


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what the session sets: these tests look at the defaults."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("variable", VARIABLES)
def test_each_variable_is_read_into_its_field(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, field, value = VARIABLES[variable]
    monkeypatch.setenv(variable, text)
    assert getattr(get_settings(), field) == value


def test_every_field_has_a_variable_here_and_a_description() -> None:
    assert set(Settings.model_fields) == {field for _, field, _ in VARIABLES.values()}
    assert set(VARIABLES) == {Settings.variable(field) for field in Settings.model_fields}
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_empty_variable_counts_as_unset(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unset = get_settings()
    get_settings.cache_clear()
    monkeypatch.setenv(variable, "")
    assert get_settings() == unset


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    unset = get_settings()
    get_settings.cache_clear()
    monkeypatch.setenv("NAMESPACE", "UPPER")
    monkeypatch.setenv("MOOVITAMIX_UNHEARD_OF", "1")
    assert get_settings() == unset


@pytest.mark.parametrize(
    ("variable", "bad"),
    [
        ("MOOVITAMIX_SOURCE_URL", "ftp://api.example.com"),
        ("MOOVITAMIX_SOURCE_URL", "api.example.com"),
        ("MOOVITAMIX_SOURCE_URL", "https://mix:sesame@api.example.com"),
        ("MOOVITAMIX_NAMESPACE", "Staging"),
        ("MOOVITAMIX_FIRST_DAY", "yesterday"),
        ("MOOVITAMIX_FIRST_DAY", "2026-02-30"),
        ("MOOVITAMIX_NOW", "soon"),
        ("MOOVITAMIX_TUNE", "soon"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_variable_and_what_to_do(
    variable: str, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, bad)
    with pytest.raises(SettingsError, match=rf"^{variable}: .*Correct or unset it; `moovitamix"):
        get_settings()


def test_all_bad_values_are_told_at_once_and_secrets_beside_them_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secrets = ["s3cret-token", "s3cret-pw", "s3cret-key"]
    monkeypatch.setenv("MOOVITAMIX_SOURCE_TOKEN", secrets[0])
    monkeypatch.setenv("MOOVITAMIX_DATABASE_URL", f"postgresql://me:{secrets[1]}@db/music")
    monkeypatch.setenv("MOOVITAMIX_SOURCE_URL", f"ftp://me:{secrets[2]}@api.example.com")
    monkeypatch.setenv("MOOVITAMIX_NAMESPACE", "1st")
    with pytest.raises(SettingsError) as refused:
        get_settings()
    message = str(refused.value)
    assert "MOOVITAMIX_SOURCE_URL" in message
    assert "MOOVITAMIX_NAMESPACE" in message
    assert not any(secret in message for secret in secrets)
    assert refused.value.__cause__ is None


def test_secrets_are_masked_where_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SOURCE_TOKEN", "DATABASE_URL", "REDIS_URL"):
        monkeypatch.setenv(f"MOOVITAMIX_{variable}", "postgresql://me:s3cret@db")
    read = get_settings()
    assert "s3cret" not in repr(read)
    assert "s3cret" not in read.model_dump_json()


@given(st.text(max_size=40))
def test_a_namespace_is_a_plain_name_of_at_most_thirty_signs(name: str) -> None:
    plain = re.fullmatch(r"[a-z][a-z0-9_]{0,29}", name, flags=re.ASCII) is not None
    if plain:
        assert Settings(namespace=name).namespace == name
    else:
        with pytest.raises(ValidationError):
            Settings(namespace=name)


@given(st.from_regex(r"[a-z][a-z0-9_]{0,29}", fullmatch=True))
def test_every_plain_name_is_a_namespace(name: str) -> None:
    assert Settings(namespace=name).namespace == name


@pytest.mark.parametrize("name", ["mvx\n", "m" * 31, 'mvx"; DROP', "mvx:1", "_mvx", "mvx-2", "é"])
def test_what_would_break_a_key_or_a_schema_is_no_namespace(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOOVITAMIX_NAMESPACE", name)
    with pytest.raises(SettingsError, match="MOOVITAMIX_NAMESPACE"):
        get_settings()


def test_the_present_is_the_systems_clock_in_utc() -> None:
    before = datetime.now(UTC)
    present = get_settings().present()
    assert before <= present <= datetime.now(UTC)
    assert present.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T08:00:00", datetime(2026, 11, 22, 8, tzinfo=UTC)),
        ("2026-11-22T08:00:00+02:00", datetime(2026, 11, 22, 6, tzinfo=UTC)),
        ("2026-11-22T23:30:00-05:00", datetime(2026, 11, 23, 4, 30, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
    ],
)
def test_a_simulated_present_is_told_in_utc(
    text: str, moment: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOOVITAMIX_NOW", text)
    present = get_settings().present()
    assert present == moment
    assert present.utcoffset() == timedelta(0)


def test_settings_are_read_once_and_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    read = get_settings()
    monkeypatch.setenv("MOOVITAMIX_NAMESPACE", "later")
    assert get_settings() is read
    with pytest.raises(ValidationError):
        read.namespace = "other"


def test_the_home_is_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert get_settings().home_path == tmp_path / ".moovitamix"


def test_a_tilde_in_the_home_is_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOOVITAMIX_HOME", "~/music")
    assert get_settings().home_path == Path.home() / "music"


@pytest.mark.parametrize("name", ["home", "a home with spaces", "100%20", "maison à moi"])
def test_the_lake_is_under_the_home_whatever_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOOVITAMIX_HOME", str(tmp_path / name))
    files, root = fsspec.core.url_to_fs(get_settings().lake)
    files.makedirs(root)
    assert (tmp_path / name / "lake").is_dir()
