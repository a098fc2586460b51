"""compose.yaml and the Dockerfile: isolation of services, and pinned versions."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from redis import AuthenticationError
from redis.backoff import NoBackoff
from redis.retry import Retry

from revalid import __version__
from revalid.jobs.settings import PREFIX, load_settings
from revalid.worker.supervisor import END_TIMEOUT_S
from tests.integration.composed import ROLES, ROOT, composed_redis

COMPOSE = (ROOT / "compose.yaml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
FILE = yaml.safe_load(COMPOSE)
SERVICES: dict[str, Any] = FILE["services"]
REDIS, ENGINE, WORKER = (SERVICES[n] for n in ("redis", "engine", "worker"))
FLOWER, METRICS, ARCHIVE = (SERVICES[n] for n in ("flower", "metrics", "archive"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
Config = Callable[[dict[str, str]], subprocess.CompletedProcess[str]]
PASSWORDS = {f"{role.upper()}_PASSWORD" for role in ROLES}
VARIABLES = {**dict.fromkeys(sorted(PASSWORDS), "letters"), "FLOWER_BASIC_AUTH": "user:password"}


def named_volume(service: dict[str, Any], target: str) -> str:
    """Return the named volume that a service mounts at ``target``."""
    name = next(v.split(":")[0] for v in service["volumes"] if v.split(":")[1] == target)
    assert name in FILE["volumes"]
    return str(name)


def settings_of(service: dict[str, Any]) -> dict[str, str]:
    return {n: v or "" for n, v in service["environment"].items() if n.startswith(PREFIX)}


def seconds(duration: str) -> int:
    number, unit = int(duration[:-1]), duration[-1]
    return number * {"s": 1, "m": 60}[unit]


@pytest.fixture(scope="module")
def compose_tool() -> list[str]:
    for tool in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(tool[0]):
            version_check = subprocess.run([*tool, "version"], capture_output=True)
            if version_check.returncode == 0:
                return tool
    pytest.skip("NO COMPOSE TOOL: put docker compose or docker-compose on PATH to run these")


@pytest.fixture
def compose_config(compose_tool: list[str], tmp_path: Path) -> Config:
    (tmp_path / "none.env").touch()  # instead of a .env that may lie in the repository
    command = [*compose_tool, "--env-file", str(tmp_path / "none.env"), "config", "--quiet"]
    environ = {n: v for n, v in os.environ.items() if n not in VARIABLES}

    def config(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=ROOT, env=environ | variables, capture_output=True, text=True
        )

    return config


def test_a_compose_tool_accepts_the_file(compose_config: Config) -> None:
    answer = compose_config(VARIABLES)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("name", VARIABLES)
def test_passwords_are_required(compose_config: Config, name: str) -> None:
    answer = compose_config({n: v for n, v in VARIABLES.items() if n != name})
    assert answer.returncode != 0
    assert name in answer.stderr


def test_redis_is_private() -> None:
    assert "ports" not in REDIS
    assert REDIS["networks"] == ["queue"]
    assert FILE["networks"]["queue"] == {"internal": True}
    assert named_volume(REDIS, "/data")


def test_redis_runs_as_configured_and_no_password_is_an_argument(tmp_path: Path) -> None:
    with composed_redis(tmp_path) as running:
        arguments = Path(f"/proc/{running.process.pid}/cmdline")
        with redis.Redis.from_url(running.url("worker"), decode_responses=True) as client:
            info = client.info()
            assert isinstance(info, dict)
        assert info["aof_enabled"] == 1
        assert info["maxmemory_policy"] == "noeviction"
        assert info["maxmemory"] > 0
        if arguments.exists():
            assert not any(
                word.encode() in arguments.read_bytes() for word in running.passwords.values()
            )
    assert running.process.returncode == 0


def test_redis_takes_nobody_without_the_file_of_users(tmp_path: Path) -> None:
    with composed_redis(tmp_path, acl=tmp_path / "none.acl") as running:
        assert running.process.wait(10) != 0
        assert not running.socket.exists()


def test_redis_takes_nobody_where_the_file_names_none(tmp_path: Path) -> None:
    (tmp_path / "empty.acl").touch()
    with composed_redis(tmp_path, acl=tmp_path / "empty.acl") as running:
        once = Retry(NoBackoff(), 0)
        with (
            redis.Redis(unix_socket_path=str(running.socket), retry=once) as stranger,
            pytest.raises(AuthenticationError),
        ):
            stranger.ping()


def test_each_service_has_the_password_of_its_role_alone() -> None:
    assert {n for n in REDIS["environment"] if n.endswith("_PASSWORD")} == PASSWORDS
    for role in set(ROLES) - {"producer"}:
        service = SERVICES[role]
        url = service["environment"]["REVALID_BROKER_URL"]
        assert url == f"redis://{role}:${{{role.upper()}_PASSWORD}}@redis:6379/0"
        assert re.findall(r"\w+_PASSWORD", json.dumps(service)) == [f"{role.upper()}_PASSWORD"]


def test_operating_page_names_every_variable(tmp_path: Path) -> None:
    lines = re.findall(r"(?m)^\$ (.*\.env)$", (ROOT / "docs/operating.md").read_text())
    subprocess.run(["sh", "-ec", "\n".join(lines)], cwd=tmp_path, check=True)
    written = dict(line.split("=") for line in (tmp_path / ".env").read_text().splitlines())
    assert {*written} == {*VARIABLES}
    assert all(re.fullmatch("[0-9a-f]{64}", written[name]) for name in PASSWORDS)
    assert len({*written.values()}) == len(VARIABLES)


def test_no_password_becomes_an_argument() -> None:
    """Compose would write ``$NAME`` into a command; ``$$NAME`` is left to the container's shell."""
    for service in SERVICES.values():
        words = json.dumps([service.get(k) for k in ("command", "entrypoint", "healthcheck")])
        assert not re.search(r"(?<!\$)\$[{A-Z]", words)


def test_engine_listens_on_a_unix_socket_that_workers_share() -> None:
    assert "ports" not in ENGINE
    assert not re.search(r"tcp|--addr|0\.0\.0\.0|METRICS_ADDR|debugaddr", json.dumps(ENGINE))
    assert named_volume(ENGINE, "/run/dagger") == named_volume(WORKER, "/run/dagger")
    address = WORKER["environment"]["_EXPERIMENTAL_DAGGER_RUNNER_HOST"]
    assert address == ENGINE["environment"]["_EXPERIMENTAL_DAGGER_RUNNER_HOST"]
    assert address.startswith("unix:///run/dagger/")
    assert WORKER["environment"]["REVALID_SANDBOX"] == "dagger"
    assert named_volume(ENGINE, "/var/lib/dagger")


def test_engine_is_alone_on_its_network() -> None:
    assert set(ENGINE["networks"]) == {"engine"}
    assert all("network_mode" not in service for service in SERVICES.values())
    for name, service in SERVICES.items():
        assert name == "engine" or "engine" not in service["networks"]


def test_engine_bounds_its_cache_and_gives_no_root() -> None:
    config = json.loads(ENGINE["entrypoint"][-1].split("CONFIG\n")[1])
    assert {"maxUsedSpace", "minFreeSpace"} <= set(config["gc"])
    assert config["security"] == {"insecureRootCapabilities": False}


def test_the_workers_user_may_open_the_engines_socket() -> None:
    group = re.search(r"--group (\d+)", ENGINE["entrypoint"][-1])
    user = re.search(r"--uid (\d+)", DOCKERFILE)
    assert group and user and group[1] == user[1]
    assert re.search(r"^USER revalid$", DOCKERFILE, re.MULTILINE)


def test_only_the_engine_is_privileged_and_nobody_holds_dockers_socket() -> None:
    assert [name for name, service in SERVICES.items() if service.get("privileged")] == ["engine"]
    assert all(service["cap_drop"] == ["ALL"] for service in (WORKER, FLOWER, METRICS, ARCHIVE))
    assert "docker.sock" not in COMPOSE


def test_flower_and_metrics_alone_are_published_on_loopback() -> None:
    published = {n: service["ports"] for n, service in SERVICES.items() if "ports" in service}
    assert {*published} == {"flower", "metrics"}
    for name, ports in published.items():
        assert all(port.startswith("127.0.0.1:") for port in ports)
        assert SERVICES[name]["networks"] == ["queue", name]  # with nobody else who publishes


def test_the_archive_is_optional_and_has_its_packages() -> None:
    profiles = {name: s["profiles"] for name, s in SERVICES.items() if "profiles" in s}
    assert profiles == {"archive": ["archive"]}
    assert ARCHIVE["networks"] == ["queue", "archive"]
    assert "archive" in PROJECT["optional-dependencies"]
    assert '"/src[archive]"' in DOCKERFILE


def test_flower_asks_for_a_password() -> None:
    assert FLOWER["command"] == ["revalid", "flower"]  # which makes it read only
    assert FLOWER["environment"]["REVALID_FLOWER_AUTH"].startswith("${FLOWER_BASIC_AUTH:?")


def test_images_have_version_tags() -> None:
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    for image in [service["image"] for service in SERVICES.values()] + stages:
        assert re.search(r":v?\d+\.\d+[\w.-]*$", image), image


def test_versions_are_those_of_the_project() -> None:
    pin = next(d.partition("==")[2] for d in PROJECT["dependencies"] if d.startswith("dagger-io"))
    engine = f"registry.dagger.io/engine:v{pin}"
    assert ENGINE["image"] == engine
    assert f"FROM {engine} AS engine" in DOCKERFILE
    ours = {service["image"] for service in (WORKER, FLOWER, METRICS, ARCHIVE)}
    assert ours == {f"revalid:{__version__}"}


@pytest.mark.parametrize("service", [WORKER, FLOWER, METRICS, ARCHIVE])
def test_settings_are_known(service: dict[str, Any]) -> None:
    load_settings(settings_of(service), env_file=None)


def test_stopping_waits_longer_than_the_workers_grace() -> None:
    grace_s = load_settings(settings_of(WORKER), env_file=None).grace_s
    assert seconds(WORKER["stop_grace_period"]) > grace_s + END_TIMEOUT_S


def test_databricks_variables_are_passed_only_when_set() -> None:
    passed_variables = {
        n: v for n, v in WORKER["environment"].items() if n.startswith("DATABRICKS_")
    }
    assert passed_variables == dict.fromkeys(load_settings({}, env_file=None).secret_allow)


def test_every_service_is_watched_and_restarted() -> None:
    for service in SERVICES.values():
        assert service["healthcheck"]["test"]
        assert service["restart"] == "unless-stopped"
