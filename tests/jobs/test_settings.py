"""Settings: their sources, which source wins, and errors of one line."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from revalid.jobs.constants import MAX_SLOTS
from revalid.jobs.errors import InvalidSettings
from revalid.jobs.job import DEFAULT_IMAGE, SandboxPolicy
from revalid.jobs.settings import DATABRICKS, PREFIX, Settings, load_settings


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def load(**environ: str) -> Settings:
    return load_settings({PREFIX + name: value for name, value in environ.items()}, env_file=None)


def test_the_environment_is_read() -> None:
    settings = load(IMAGE="node:22", CONCURRENCY="3", SANDBOX="local", HOME="/srv/revalid")
    assert (settings.image, settings.concurrency) == ("node:22", 3)
    assert (settings.sandbox, settings.home) == (SandboxPolicy.LOCAL, Path("/srv/revalid"))


def test_the_process_and_its_directory_are_read_by_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REVALID_IMAGE", "node:22")
    (tmp_path / ".env").write_text("REVALID_TENANT=acme\n")
    settings = load_settings()
    assert (settings.image, settings.tenant) == ("node:22", "acme")
    assert load_settings(env_file=None).tenant == "default"


def test_overrides_precede_the_environment_which_precedes_the_file(env_file: Path) -> None:
    env_file.write_text("REVALID_IMAGE=file\nREVALID_TENANT=file\nREVALID_CONCURRENCY=2\n")
    environ = {"REVALID_IMAGE": "environment", "REVALID_TENANT": "environment"}
    settings = load_settings(environ, env_file=env_file, image="override")
    assert (settings.image, settings.tenant) == ("override", "environment")
    assert settings.concurrency == 2


def test_an_empty_variable_is_an_unset_one(env_file: Path) -> None:
    env_file.write_text("REVALID_BROKER_URL=\nREVALID_IMAGE\n")
    settings = load_settings({"REVALID_CONNECT_TIMEOUT_S": ""}, env_file=env_file)
    assert (settings.broker_url, settings.image) == (None, DEFAULT_IMAGE)
    assert settings.connect_timeout_s == 15


def test_a_missing_file_is_not_an_error(env_file: Path) -> None:
    assert load_settings({}, env_file=env_file) == load_settings({}, env_file=None)


def test_other_lines_in_the_file_are_ignored(env_file: Path) -> None:
    env_file.write_bytes(
        b"DATABASE_URL=postgres://x\nrevalid_image=x\nNAME=caf\xe9\n"
        b"# REVALID_NONE=1\nexport REVALID_TENANT='acme'\nMY_REVALID_X=1\n"
    )
    assert load_settings({}, env_file=env_file).tenant == "acme"


def test_a_file_that_begins_with_a_byte_order_mark(env_file: Path) -> None:
    env_file.write_bytes(b"\xef\xbb\xbfREVALID_TENANT=acme\n")
    assert load_settings({}, env_file=env_file).tenant == "acme"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("REVALID_CONCURENCY", "did you mean REVALID_CONCURRENCY?"),
        ("REVALID_BROKER", "did you mean REVALID_BROKER_URL?"),
        ("REVALID_image", "did you mean REVALID_IMAGE?"),
        ("REVALID_XYZZY", "see docs/reference.md"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, hint: str, env_file: Path) -> None:
    with pytest.raises(InvalidSettings, match=f"^{name} is not a setting: ") as caught:
        load_settings({name: "1"}, env_file=None)
    assert hint in str(caught.value)
    env_file.write_text(f"{name}=1\n")
    with pytest.raises(InvalidSettings, match=f"^{name} is not a setting: "):
        load_settings({}, env_file=env_file)


def test_the_switch_of_the_tests_is_no_setting() -> None:
    assert load(REQUIRE_DAGGER="1") == load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONCURRENCY", "many"),
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "65"),
        ("SANDBOX", "docker"),
        ("GRACE_S", "0"),
        ("RESULT_TTL_S", "59"),
        ("BLOB_REDIS_BYTES", "-1"),
        ("PROJECT_BYTES", "0"),
        ("PROJECT_FILES", "1.5"),
        ("CONNECT_TIMEOUT_S", "601"),
        ("FLOWER_PORT", "65536"),
        ("EMBEDDED", "perhaps"),
    ],
)
def test_a_bad_value_gives_a_one_line_error_that_names_the_setting(name: str, value: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"settings: REVALID_{name}: Input should be ")
    assert message.splitlines() == [message]


def test_every_bad_value_is_named() -> None:
    with pytest.raises(InvalidSettings, match=r"REVALID_GRACE_S: .*; REVALID_FLOWER_PORT: "):
        load(GRACE_S="x", FLOWER_PORT="x")


@pytest.mark.parametrize(
    ("text", "words"),
    [("a,b", ("a", "b")), (" /srv/a , /srv/b,", ("/srv/a", "/srv/b")), ("a", ("a",)), (",", ())],
)
def test_a_list_is_separated_by_commas(text: str, words: tuple[str, ...]) -> None:
    settings = load(
        SOURCE_ROOTS=text, SECRET_ALLOW=text, SECRET_FILES=text, FORWARD_ENV=text, LOCAL_ENV=text
    )
    assert {settings.source_roots, settings.secret_allow, settings.secret_files} == {words}
    assert {settings.forwarded, settings.local_env} == {words}


def test_defaults_of_a_deployed_worker() -> None:
    settings = load()
    assert settings.sandbox_policy is SandboxPolicy.DAGGER
    assert settings.forwarded == ()
    assert (settings.secret_allow, settings.secret_files) == (DATABRICKS, ())
    assert settings.source_roots == ()


def test_what_the_embedded_worker_does_unless_told_otherwise() -> None:
    settings = load(EMBEDDED="1")
    assert settings.sandbox_policy is SandboxPolicy.AUTO
    assert settings.forwarded == DATABRICKS
    assert load(EMBEDDED="1", SANDBOX="dagger").sandbox_policy is SandboxPolicy.DAGGER
    assert load(EMBEDDED="1", FORWARD_ENV="CI").forwarded == ("CI",)


@pytest.mark.parametrize(("processors", "jobs"), [(None, 1), (1, 1), (4, 4), (64, 8)])
def test_concurrency_follows_the_processors(
    processors: int | None, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    assert load().concurrency == jobs
    with pytest.raises(InvalidSettings, match="REVALID_CONCURRENCY"):
        load(CONCURRENCY=str(MAX_SLOTS + 1))


@pytest.mark.parametrize("field", Settings.model_fields)
def test_a_setting_has_a_description(field: str) -> None:
    description = Settings.model_fields[field].description
    assert description
    assert description.endswith(".")


def test_settings_are_frozen() -> None:
    settings = load()
    with pytest.raises(ValidationError, match="frozen"):
        settings.image = "other"  # type: ignore[misc]


def test_nothing_but_the_loader_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVALID_IMAGE", "node:22")
    assert Settings().image == DEFAULT_IMAGE
