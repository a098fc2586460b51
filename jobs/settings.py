"""Settings: ``REVALID_*`` from the environment, else from ``.env``; unknown names are refused."""

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
DATABRICKS = ("DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_WAREHOUSE_ID")

Names = Annotated[tuple[str, ...], NoDecode]
"""Words separated by commas."""

LogFormat = Literal["text", "json"]


class Settings(BaseSettings):
    """Everything that can be set; producers, workers and Flower read the same names."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    home: Path = Field(
        default_factory=lambda: user_data_path("revalid"),
        description="Where the embedded broker and worker keep all their state.",
    )
    broker_url: str | None = Field(
        default=None,
        description=(
            "Redis of the queue and the ledger: redis://, rediss:// or unix://. "
            "Unset: the embedded broker under REVALID_HOME."
        ),
    )
    result_url: str | None = Field(
        default=None,
        description="Redis of Celery's small results. Unset: the same as REVALID_BROKER_URL.",
    )
    blob_url: str | None = Field(
        default=None,
        description=(
            "Where blobs above REVALID_BLOB_REDIS_BYTES go: file:///path or s3://bucket/prefix. "
            "Unset: a directory under REVALID_HOME for the embedded broker, else refused."
        ),
    )
    blob_redis_bytes: int = Field(
        default=8 * 2**20, ge=0, description="Bytes up to which a blob is kept in Redis itself."
    )
    tenant_blob_bytes: int = Field(
        default=256 * 2**20,
        ge=0,
        description="Bytes of projects in Redis that one tenant may have uploaded for jobs that "
        "are not done; an upload above is refused.",
    )
    image: str = Field(default=DEFAULT_IMAGE, description="Image of jobs that name none.")
    tools_image: str = Field(
        default=TOOLS_IMAGE,
        description="Image with the static busybox that runs and measures the commands of every "
        "container.",
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
        description="Jobs that one worker runs at a time, each in a process of its own.",
    )
    source_roots: Names = Field(
        default=(),
        description="Directories that path sources and refresh_from_host may read. Default none.",
    )
    secret_allow: Names = Field(
        default=DATABRICKS,
        description="Names of worker variables that a job may ask for as env://NAME.",
    )
    secret_files: Names = Field(
        default=(), description="Directories that a job may ask for as file:///path. Default none."
    )
    forward_env: Names | None = Field(
        default=None,
        description=(
            "Worker variables given to every sandbox when not empty. Unset: the three "
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
        description="Worker variables that the local sandbox's commands see besides PATH, and with "
        "them the files that they name.",
    )
    bubblewrap: bool = Field(
        default=True,
        description="Run the local sandbox's commands in bubblewrap where it works. Off: they see "
        "and change what the worker's user may, /tmp too.",
    )
    project_bytes: int = Field(
        default=2 * 2**30, ge=1, description="Bytes that an unpacked project may have."
    )
    project_files: int = Field(
        default=100_000, ge=1, description="Files and directories that a project may have."
    )
    artifact_bytes: int = Field(
        default=64 * 2**20, ge=0, description="Bytes of a job's artifacts, unpacked, that are kept."
    )
    connect_timeout_s: float = Field(
        default=15, gt=0, le=600, description="Seconds to wait for a Dagger engine to answer."
    )
    result_ttl_s: int = Field(
        default=7 * 86_400, ge=60, description="Seconds that a finished job is kept."
    )
    queued_jobs: int = Field(
        default=100_000, ge=1, description="Jobs that may be queued; a submit above is refused."
    )
    tenant_jobs: int = Field(
        default=0, ge=0, description="Jobs of one tenant that run at a time; 0 for any number."
    )
    interactive_slots: int = Field(
        default=0, ge=0, description="Slots of all workers together that batch jobs leave free."
    )
    signing_key: SecretStr | None = Field(
        default=None,
        description="Signs job records. A worker that has it runs only jobs signed with it.",
    )
    webhook_key: SecretStr | None = Field(
        default=None,
        description="Signs webhooks: whsec_ and 24 to 64 bytes in base64. Workers that have it "
        "deliver them.",
    )
    webhook_allow: Names = Field(
        default=(),
        description="Hosts, addresses and networks that webhooks may reach besides public "
        "addresses, and by http:// too. Default none.",
    )
    grace_s: float = Field(
        default=30, ge=1, description="Seconds that a stopping worker gives its running jobs."
    )
    scratch: Path | None = Field(
        default=None, description="Where workers unpack projects. Unset: the temporary directory."
    )
    log_format: LogFormat = Field(
        default="text", description="What a worker's log is: text, or json, an object a line."
    )
    flower_auth: str | None = Field(
        default=None, description="user:password that Flower asks for. Unset: Flower is loopback."
    )
    flower_port: int = Field(default=5555, ge=0, le=65_535, description="Port of `revalid flower`.")
    metrics_listen: str = Field(
        default="127.0.0.1:9555",
        pattern=r"^([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}$",
        description="HOST:PORT of `revalid metrics`; it asks for no password.",
    )
    archive_url: SecretStr | None = Field(
        default=None,
        description="Database of `revalid archive`: postgresql+psycopg://user:password@host/name "
        "or sqlite:////path.",
    )
    embedded: bool = Field(
        default=False,
        description="Set by `revalid run` for the worker that it starts; not for people.",
    )
    instance: str | None = Field(
        default=None,
        description=(
            "Set by `revalid run` for the worker that it starts, so that no other run counts on "
            "it; not for people."
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
            raise ValueError("make one: echo whsec_$(openssl rand -base64 32)")
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
        """Bytes up to which a project is kept in Redis."""
        return min(self.blob_redis_bytes, self.tenant_blob_bytes)

    @property
    def forwarded(self) -> tuple[str, ...]:
        """Names of the worker's variables that every sandbox gets."""
        if self.forward_env is not None:
            return self.forward_env
        return DATABRICKS if self.embedded else ()

    @property
    def sandbox_policy(self) -> SandboxPolicy:
        """The policy that holds where a job names none."""
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
        """Only what :func:`load_settings` passes: it has read and checked every source."""
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
        env_file: A file of ``REVALID_*`` lines; other lines belong to others and are passed over.
        overrides: Fields that win over both.

    Raises:
        InvalidSettings: A name is unknown or a value is wrong; one line names it and the fix.
    """
    found: dict[str, str] = {}
    if env_file is not None and env_file.is_file():
        try:
            lines = StringIO(env_file.read_text(encoding="utf-8-sig", errors="replace"))
        except OSError as error:
            raise InvalidSettings(f"{env_file}: {error.strerror}; make it readable") from None
        found.update({name: value or "" for name, value in dotenv_values(stream=lines).items()})
    found.update(os.environ if environ is None else environ)
    values: dict[str, Any] = {}
    for name, value in found.items():
        if not name.startswith(PREFIX) or name == "REVALID_REQUIRE_DAGGER":
            continue
        field = name.removeprefix(PREFIX).lower()
        if field not in Settings.model_fields or not name.isupper():
            near = difflib.get_close_matches(field, Settings.model_fields, n=1)
            hint = f"did you mean {PREFIX}{near[0].upper()}?" if near else "see docs/reference.md"
            raise InvalidSettings(f"{name}: no such setting; {hint}")
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
