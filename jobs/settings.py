"""Settings: ``REVALID_*`` from the environment or ``.env``; unknown names are refused."""

import difflib
import os
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from io import StringIO
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from revalid.jobs.constants import MAX_SLOTS
from revalid.jobs.errors import InvalidSettings
from revalid.jobs.job import DEFAULT_IMAGE, SandboxPolicy
from revalid.version import __version__

PREFIX = "REVALID_"
VERSION = __version__
TOOLS_IMAGE = "busybox:1.37.0-musl"
BROWSER_IMAGE = "mcr.microsoft.com/playwright/python:v1.65.2-noble"
DATABRICKS = ("DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_WAREHOUSE_ID")

Names = Annotated[tuple[str, ...], NoDecode]
"""Values separated by commas."""

LogFormat = Literal["text", "json"]


class Settings(BaseSettings):
    """All settings; producers, workers and Flower read the same names."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    home: Path = Field(
        default_factory=lambda: user_data_path("revalid"),
        description="Directory of the embedded broker's and worker's state.",
    )
    broker_url: str | None = Field(
        default=None,
        description=(
            "URL of the Redis that holds queue and ledger: redis://, rediss:// or unix://. "
            "Unset: the embedded broker under REVALID_HOME."
        ),
    )
    result_url: str | None = Field(
        default=None,
        description="URL of the Redis for Celery's small results. Unset: REVALID_BROKER_URL.",
    )
    blob_url: str | None = Field(
        default=None,
        description=(
            "Store of blobs larger than REVALID_BLOB_REDIS_BYTES: file:///path or "
            "s3://bucket/prefix. Unset: a directory under REVALID_HOME for the embedded broker; "
            "other brokers refuse such blobs."
        ),
    )
    blob_redis_bytes: int = Field(
        default=8 * 2**20, ge=0, description="Largest blob, in bytes, that is kept in Redis."
    )
    tenant_blob_bytes: int = Field(
        default=256 * 2**20,
        ge=0,
        description="Bytes of projects in Redis that one tenant may have for jobs that are not "
        "done; a larger upload is refused.",
    )
    image: str = Field(
        default=DEFAULT_IMAGE,
        description="Container image of jobs that name none. "
        "The default one follows the versions that a project asks for.",
    )
    images: Path | None = Field(
        default=None,
        description="TOML file with a worker's table of images by language and version, from which "
        "jobs that name no image get theirs. Unset: the built-in table.",
    )
    tools_image: str = Field(
        default=TOOLS_IMAGE,
        description="Image with the static busybox that runs and measures commands in every "
        "container.",
    )
    browser_image: str = Field(
        default=BROWSER_IMAGE,
        description="Image with Chromium and Python that opens the pages of a started server "
        "beside a container.",
    )
    tenant: str = Field(default="default", description="Tenant of jobs that name none.")
    sandbox: SandboxPolicy | None = Field(
        default=None,
        description=(
            "Sandbox policy of a worker: local, auto (Dagger, else local with a note in the "
            "result) or dagger. Unset: auto for the embedded worker, else dagger."
        ),
    )
    concurrency: int = Field(
        default_factory=lambda: max(1, min(8, os.cpu_count() or 1)),
        ge=1,
        le=MAX_SLOTS,
        description="Jobs that one worker runs at a time, each in its own process.",
    )
    source_roots: Names = Field(
        default=(),
        description="Directories that path sources and refresh_from_host may read. Default: none.",
    )
    secret_allow: Names = Field(
        default=DATABRICKS,
        description="Names of worker variables that a job may reference as env://NAME.",
    )
    secret_files: Names = Field(
        default=(),
        description="Directories whose files a job may reference as file:///path. Default: none.",
    )
    forward_env: Names | None = Field(
        default=None,
        description=(
            "Names of worker variables that every sandbox gets, when not empty. Unset: the three "
            "DATABRICKS_* for the embedded worker, else none."
        ),
    )
    local_env: Names = Field(
        default=(
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "NODE_EXTRA_CA_CERTS",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "REQUESTS_CA_BUNDLE",
            "PIP_CERT",
            "PIP_INDEX_URL",
            "NPM_CONFIG_REGISTRY",
            "npm_config_registry",
        ),
        description="Names of worker variables that commands in the local sandbox see besides "
        "PATH, with the files that they name.",
    )
    bubblewrap: bool = Field(
        default=True,
        description="Run commands of the local sandbox in bubblewrap if it works. Off: commands "
        "can read and change all files of the worker's user, including /tmp.",
    )
    project_bytes: int = Field(
        default=2 * 2**30, ge=1, description="Largest size of an unpacked project, in bytes."
    )
    project_files: int = Field(
        default=100_000, ge=1, description="Most files and directories in a project."
    )
    artifact_bytes: int = Field(
        default=64 * 2**20,
        ge=0,
        description="Largest unpacked size of a job's artifacts, in bytes.",
    )
    connect_timeout_s: float = Field(
        default=15, gt=0, le=600, description="Seconds to wait for a Dagger engine to answer."
    )
    result_ttl_s: int = Field(
        default=7 * 86_400, ge=60, description="Seconds for which a finished job is kept."
    )
    queued_jobs: int = Field(
        default=100_000, ge=1, description="Most jobs in the queue; a submit above that is refused."
    )
    tenant_jobs: int = Field(
        default=0, ge=0, description="Most jobs of one tenant that run at a time; 0 means no limit."
    )
    interactive_slots: int = Field(
        default=0, ge=0, description="Slots, of all workers together, that batch jobs leave free."
    )
    signing_key: SecretStr | None = Field(
        default=None,
        description="Key that signs job records. A worker with it runs only jobs signed with it.",
    )
    webhook_key: SecretStr | None = Field(
        default=None,
        description="Key that signs webhooks: whsec_ and 24 to 64 bytes in base64. Workers with "
        "it deliver webhooks.",
    )
    webhook_allow: Names = Field(
        default=(),
        description="Hosts, addresses and networks that webhooks may reach besides public "
        "addresses; http:// is allowed there. Default: none.",
    )
    grace_s: float = Field(
        default=30, ge=1, description="Seconds that a stopping worker waits for its running jobs."
    )
    scratch: Path | None = Field(
        default=None,
        description="Directory in which workers unpack projects. Unset: the temporary directory.",
    )
    log_format: LogFormat = Field(
        default="text",
        description="Format of a worker's log: text, or json with one object per line.",
    )
    flower_auth: str | None = Field(
        default=None,
        description="user:password for Flower. Unset: Flower listens on loopback only.",
    )
    flower_port: int = Field(default=5555, ge=0, le=65_535, description="Port of `revalid flower`.")
    metrics_listen: str = Field(
        default="127.0.0.1:9555",
        pattern=r"^([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}$",
        description="HOST:PORT of `revalid metrics`, which has no password.",
    )
    archive_url: SecretStr | None = Field(
        default=None,
        description="Database of `revalid archive`: postgresql+psycopg://user:password@host/name "
        "or sqlite:////path.",
    )
    embedded: bool = Field(
        default=False,
        description="Internal: set by `revalid run` for the worker that it starts.",
    )
    instance: str | None = Field(
        default=None,
        description=(
            "Internal: set by `revalid run` for the worker that it starts, so that no other run "
            "uses that worker."
        ),
    )

    @field_validator(
        "source_roots",
        "secret_allow",
        "secret_files",
        "forward_env",
        "local_env",
        "webhook_allow",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(word.strip() for word in value.split(",") if word.strip())
        return value

    @field_validator("webhook_key")
    @classmethod
    def _is_whsec(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            prefix, _, text = value.get_secret_value().partition("_")
            with suppress(ValueError):
                if prefix == "whsec" and 24 <= len(b64decode(text, validate=True)) <= 64:
                    return value
            raise ValueError(
                "use whsec_ and 24 to 64 bytes in base64: echo whsec_$(openssl rand -base64 32)"
            )
        return value

    @field_validator("webhook_allow")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            if "/" in word or ":" in word:
                ip_network(word, strict=False)
        return value

    @property
    def project_redis_bytes(self) -> int:
        """Return the largest size of a project that is kept in Redis, in bytes."""
        return min(self.blob_redis_bytes, self.tenant_blob_bytes)

    @property
    def forwarded(self) -> tuple[str, ...]:
        """Return the names of the worker variables that every sandbox gets."""
        if self.forward_env is not None:
            return self.forward_env
        return DATABRICKS if self.embedded else ()

    @property
    def sandbox_policy(self) -> SandboxPolicy:
        """Return the sandbox policy of jobs that set none."""
        return self.sandbox or (SandboxPolicy.AUTO if self.embedded else SandboxPolicy.DAGGER)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use only the arguments: :func:`load_settings` has read and checked every source."""
        return (init_settings,)


def load_settings(
    environ: Mapping[str, str] | None = None,
    *,
    env_file: Path | None = Path(".env"),
    **overrides: Any,
) -> Settings:
    """Read the settings.

    Args:
        environ: The environment; the process's own by default.
        env_file: A file with ``REVALID_*`` lines; other lines are ignored.
        overrides: Fields that take precedence over both.

    Raises:
        InvalidSettings: A name is unknown or a value is wrong; the message names it and the fix.
    """
    variables: dict[str, str] = {}
    if env_file is not None and env_file.is_file():
        try:
            lines = StringIO(env_file.read_text(encoding="utf-8-sig", errors="replace"))
        except OSError as error:
            raise InvalidSettings(f"{env_file}: {error.strerror}; make it readable") from None
        variables.update({name: value or "" for name, value in dotenv_values(stream=lines).items()})
    variables.update(os.environ if environ is None else environ)
    values: dict[str, Any] = {}
    for name, value in variables.items():
        if not name.startswith(PREFIX) or name == "REVALID_REQUIRE_DAGGER":
            continue
        field = name.removeprefix(PREFIX).lower()
        if field not in Settings.model_fields or not name.isupper():
            near = difflib.get_close_matches(field, Settings.model_fields, n=1)
            hint = f"did you mean {PREFIX}{near[0].upper()}?" if near else "see docs/reference.md"
            raise InvalidSettings(f"{name} is not a setting: {hint}")
        if value != "":
            values[field] = value
    try:
        return Settings(**{**values, **overrides})
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{str(problem['loc'][0]).upper()}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        raise InvalidSettings(f"settings: {problems}") from None
