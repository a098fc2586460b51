"""Secret references and the scrubbing of values."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from jobs.errors import PolicyRefused
from jobs.job import Job, parse_job
from jobs.settings import Settings, load_settings
from worker.secrets import Scrubber, name_key, resolve_secrets

TOKEN = "dapi/0123+456 789"


def job(**fields: Any) -> Job:
    return parse_job(
        {"strategy": "trajectory", "steps": [{"op": "exec", "command": "true"}], **fields}
    )


def settings(**fields: Any) -> Settings:
    return load_settings({}, env_file=None, **fields)


def test_allowed_variable_is_resolved() -> None:
    wanted = job(secrets={"TOKEN": "env://DATABRICKS_TOKEN"})
    assert resolve_secrets(wanted, settings(), {"DATABRICKS_TOKEN": TOKEN}) == {"TOKEN": TOKEN}


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("env://AWS_SECRET_ACCESS_KEY", "not allowed on this worker"),
        ("env://DATABRICKS_TOKEN", "not set on this worker"),
        ("file:///etc/passwd", "not below REVALID_SECRET_FILES"),
    ],
)
def test_refused_reference_names_itself_and_the_mend(reference: str, says: str) -> None:
    environ = {"AWS_SECRET_ACCESS_KEY": "value", "DATABRICKS_TOKEN": ""}
    with pytest.raises(PolicyRefused, match=says) as refused:
        resolve_secrets(job(secrets={"X": reference}), settings(), environ)
    assert reference in str(refused.value)


def test_file_is_read_below_an_allowed_directory_only(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "outside").write_text("host secret")
    (allowed / "link").symlink_to(tmp_path / "outside")
    here = settings(secret_files=(str(allowed),))
    read = job(secrets={"X": f"file://{allowed}/token"})
    assert resolve_secrets(read, here, {}) == {"X": TOKEN}
    for name in ("link", "../outside", "missing"):
        with pytest.raises(PolicyRefused):
            resolve_secrets(job(secrets={"X": f"file://{allowed}/{name}"}), here, {})


def test_embedded_worker_forwards_databricks_variables_that_are_set() -> None:
    environ = {"DATABRICKS_HOST": "https://adb", "DATABRICKS_TOKEN": "", "OTHER": "x"}
    assert resolve_secrets(job(), settings(embedded=True), environ) == {
        "DATABRICKS_HOST": "https://adb"
    }
    assert resolve_secrets(job(), settings(), environ) == {}


def test_a_jobs_own_variable_wins_over_a_forwarded_one() -> None:
    own = job(env={"DATABRICKS_HOST": "mine"})
    assert resolve_secrets(own, settings(embedded=True), {"DATABRICKS_HOST": "https://adb"}) == {}


@pytest.mark.parametrize(
    "form",
    [TOKEN, quote(TOKEN, safe=""), base64.b64encode(TOKEN.encode()).decode().rstrip("=")],
)
def test_value_is_masked_in_each_form(form: str) -> None:
    assert Scrubber([TOKEN]).text(f"a {form} b {form}") == "a *** b ***"


def test_value_is_masked_where_json_escapes_it() -> None:
    value = 'quo"te\\d'
    masked = Scrubber([value]).text(json.dumps({"k": value}))
    assert masked == '{"k": "***"}'


def test_lines_of_a_value_are_masked_each() -> None:
    assert Scrubber(["first line\nsecond line"]).text("x second line y") == "x *** y"


def test_short_values_are_left_alone() -> None:
    assert Scrubber(["abc", ""]).text("abc") == "abc"


@pytest.mark.parametrize("cut", range(4, len(TOKEN)))
def test_value_cut_at_an_end_is_masked(cut: int) -> None:
    scrubber = Scrubber([TOKEN])
    assert scrubber.before_cut(f"head {TOKEN[:cut]}") == "head ***"
    assert scrubber.after_cut(f"{TOKEN[-cut:]} tail") == "*** tail"


def test_key_of_names_is_one_for_a_home_and_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert name_key(home) == name_key(home) != name_key(tmp_path / "other")
    (file,) = home.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_home_that_cannot_be_written_gives_a_key_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    assert len(name_key(tmp_path / "home")) == 32
