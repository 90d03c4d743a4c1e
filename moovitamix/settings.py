"""The environment, read once into typed settings. Nothing else in the package reads it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from moovitamix.durations import parse_duration
from moovitamix.errors import SettingsError


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except SettingsError as error:
        raise ValueError(str(error)) from None


Duration = Annotated[timedelta, BeforeValidator(_duration)]


class Settings(BaseSettings):
    """Everything that can be configured. With nothing set, all runs on this machine.

    Each field is read from the environment variable of its name, upper case, prefixed by
    `MOOVITAMIX_`; MLflow's own has the name that MLflow gives it. An empty variable counts
    as unset.
    """

    model_config = SettingsConfigDict(
        env_prefix="MOOVITAMIX_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    home: Path = Field(
        default=Path(".moovitamix"),
        description="Where the lake, the embedded servers and Dagster's history live.",
    )
    source_url: str | None = Field(
        default=None,
        # Without user and password: addresses are shown and logged, tokens are not.
        pattern=r"^https?://[^@?#]+$",
        description="The source API. Unset: the demonstration source, started on loopback.",
    )
    source_token: SecretStr | None = Field(
        default=None, description="Sent to the source as `Authorization: Bearer …`."
    )
    source_token_header: str | None = Field(
        default=None,
        pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
        description="The header that carries the bare token instead, such as `X-API-Key`.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="A Postgres 14+ URL. Unset: an embedded real Postgres under the home.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="A Redis 6.2+ or Valkey URL. Unset: an embedded real Valkey under the home.",
    )
    lake_url: str | None = Field(
        default=None, description="Any fsspec URL. Unset: `lake/` under the home."
    )
    namespace: str = Field(
        default="mvx",
        pattern=r"^[a-z][a-z0-9_]{0,29}$",
        description="Prefix of cache keys and schema of tables, so that servers can be shared.",
    )
    first_day: date = Field(
        default=date(2026, 9, 1),
        description="The first daily partition. What is older is dealt to it: nothing is lost.",
    )
    keep_exports_days: int | None = Field(
        default=None,
        ge=1,
        description="Days after which exports are removed from this machine. Unset: never.",
    )
    keep_feedback_days: int = Field(
        default=90,
        ge=10,
        description="Impressions and clicks go then; their figures stay, and skips and hides too.",
    )
    keep_figures_days: int = Field(
        default=400,
        ge=8,
        description="Figures of runs, loads, checks and sizes go then: longer than a year.",
    )
    keep_replaced_days: int = Field(
        default=90,
        ge=1,
        description="Contents of records that were replaced, and what old pulls saw, go then.",
    )
    keep_activity_days: int = Field(
        default=35,
        ge=1,
        description="What POST /listens took in so long ago goes, once it is loaded.",
    )
    erase_withdrawn_after_days: int = Field(
        default=30,
        ge=1,
        description="Users who are gone from the source for so long are erased.",
    )
    keep_versions: int = Field(
        default=10,
        ge=1,
        description="So many of the newest model versions keep their files; see docs/model.md.",
    )
    keep_days: int = Field(
        default=30,
        ge=0,
        description="Files of models, matrices and features younger than so many days are kept.",
    )
    mlflow_tracking_uri: SecretStr | None = Field(
        default=None,
        validation_alias="MLFLOW_TRACKING_URI",
        description="Model versions are mirrored to this MLflow server. Unset: nowhere.",
    )
    now: Annotated[datetime, AfterValidator(_in_utc)] | None = Field(
        default=None,
        description="A simulated present (ISO 8601), for trials. Unset: the system's clock.",
    )

    tune: Duration = Field(
        default=timedelta(minutes=10),
        description="How long the job `retrain` searches for a better configuration: 10m; 0: not.",
    )
    tune_first: Duration = Field(
        default=timedelta(),
        description="The same for the first training, in `moovitamix run`. Unset: not at all.",
    )

    retrain_after_days: int = Field(
        default=7,
        ge=1,
        description="A champion whose data is more days behind the newest day is trained anew.",
    )
    retrain_cool_down_days: int = Field(
        default=2,
        ge=1,
        description="Days between two trainings that nobody asked for by hand.",
    )

    new_releases: bool = Field(
        default=True,
        description="false: lists keep no place for new releases, whatever the model version says.",
    )

    drift_days: int = Field(
        default=7,
        ge=1,
        description="So many last days are compared with the champion's data. Use whole weeks.",
    )

    api_keys: SecretStr | None = Field(
        default=None,
        description="Hashed keys of the HTTP API, or the path of a file of them. Unset: `api-keys` "
        "under the home; without that file it is open, on loopback only.",
    )
    rate_limit: float = Field(
        default=1_000.0,
        ge=0,
        description="Requests a second that a key may make of one worker of the API. 0: any.",
    )

    alert_urls: SecretStr | None = Field(
        default=None,
        description="Apprise URLs that alerts are sent to (`mailto://…`, `slack://…`, `json://…`), "
        "comma or white space between. Unset: they are only logged.",
    )
    report_urls: SecretStr | None = Field(
        default=None,
        description="Apprise URLs that the daily report is sent to: a page to mail, its text to "
        "others. Unset: it is not sent.",
    )
    ui_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^@?#]+$",
        description="Where people open the Dagster UI: alerts link to the run. Unset: no link.",
    )
    runbook_url: str = Field(
        default="docs/runbook.md",
        description="Where people read the runbook: alerts link to its entries.",
    )
    late_after: Duration = Field(
        default=timedelta(hours=6),
        description="A day that is not published so long after it ended is told: 6h.",
    )

    gelf_url: str | None = Field(
        default=None,
        pattern=r"^gelf\+(tcp|tls)://[^@/?#]+$",
        description="A Graylog server's GELF TCP input that logs are sent to: "
        "gelf+tcp://host:12201, encrypted gelf+tls://host:12201. Unset: nowhere.",
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto",
        description="Lines of the API's log: `text`, `json`, or by whether a terminal shows them.",
    )
    log_key: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="What users' names in logs are made with. Unset: `log-key` under the home.",
    )

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable that a field is read from."""
        alias = cls.model_fields[field].validation_alias
        return alias if isinstance(alias, str) else f"MOOVITAMIX_{field.upper()}"

    @property
    def home_path(self) -> Path:
        """The home as an absolute path."""
        return self.home.expanduser().absolute()

    @property
    def lake(self) -> str:
        """The URL of the lake, the default filled in."""
        # Not `as_uri`: fsspec takes a local URL's path as it stands, `%20` too.
        return self.lake_url or f"file://{self.home_path / 'lake'}"

    @property
    def spool(self) -> Path:
        """Where pulls on their way, and what works on their files, have a folder each."""
        return self.home_path / "spool" / self.namespace

    def present(self) -> datetime:
        """The current moment in UTC, or the simulated one."""
        return self.now or datetime.now(UTC)


def _variable(place: tuple[int | str, ...]) -> str:
    name = ".".join(str(part) for part in place)
    return name if name.isupper() else f"MOOVITAMIX_{name.upper()}"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read from the environment at the first call.

    Raises:
        SettingsError: When a variable holds something that cannot be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"{_variable(fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        ]
        raise SettingsError(
            "; ".join(lines) + ". Correct or unset it; `moovitamix config` lists all of them."
        ) from None
