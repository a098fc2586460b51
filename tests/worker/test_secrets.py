"""Secret references, and the scrubbing of values."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsIndex
from urllib.parse import quote, quote_plus

import pytest

from revalid.jobs.errors import PolicyRefused
from revalid.jobs.job import Job, parse_job
from revalid.jobs.settings import Settings, load_settings
from revalid.worker.secrets import Scrubber, name_key, passwords, private_paths, resolve_secrets

TOKEN = "dapi/0123+456 789"


def job(**fields: Any) -> Job:
    return parse_job(
        {"strategy": "trajectory", "steps": [{"op": "exec", "command": "true"}], **fields}
    )


def settings(**fields: Any) -> Settings:
    return load_settings({}, env_file=None, **fields)


def test_allowed_variable_is_resolved() -> None:
    submitted = job(secrets={"TOKEN": "env://DATABRICKS_TOKEN"})
    assert resolve_secrets(submitted, settings(), {"DATABRICKS_TOKEN": TOKEN}) == {"TOKEN": TOKEN}


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("env://AWS_SECRET_ACCESS_KEY", "not allowed on this worker"),
        ("env://DATABRICKS_TOKEN", "not set on this worker"),
        ("file:///etc/passwd", "not below REVALID_SECRET_FILES"),
    ],
)
def test_refusal_names_the_reference_and_the_fix(reference: str, says: str) -> None:
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


@pytest.mark.parametrize("around", range(1, 8))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("value", [TOKEN, "dapi\xfe\xff~~???>>>0123", "s3cret-value"])
def test_base64_of_longer_text_with_a_value_is_masked(
    value: str, encode: Callable[[bytes], bytes], around: int
) -> None:
    user = "u" * around
    encoded = encode(f"{user}:{value}@{user}".encode()).decode()
    masked = Scrubber([value]).text(f"Basic {encoded}")
    assert "***" in masked
    unmasked = masked.removeprefix("Basic ").split("***")
    unmasked_expected = [encode(user.encode()).decode()[: len(user)], f"{user}:"]
    assert sum(map(len, unmasked)) <= 4 * (2 * around + 2) / 3 + 6, (masked, unmasked_expected)
    for start in range(len(value) - 3):  # no four characters of the value remain at any alignment
        for before in range(3):
            inner = encode(b"x" * before + value[start : start + 4].encode()).decode().rstrip("=")
            assert inner[(0, 2, 3)[before] : -1] not in masked


@pytest.mark.parametrize(
    "encode",
    [
        lambda value: value.encode().hex(),
        lambda value: value.encode().hex().upper(),
        quote,
        quote_plus,
        lambda value: re.sub("%..", lambda match: match[0].lower(), quote(value, safe="")),
        lambda value: json.dumps(value)[1:-1],
        lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    ],
)
def test_other_encodings_are_masked(encode: Callable[[str], str]) -> None:
    value = TOKEN + 'ü"\\\t'
    assert Scrubber([value]).text(f"<{encode(value)}>") == "<***>"


@pytest.mark.parametrize("url", ["http://{}@proxy.test:3128", "{}@proxy.test", "a,http://{}@b/@c"])
def test_passwords_in_variables_of_local_commands_are_masked(url: str) -> None:
    environ = {"HTTPS_PROXY": url.format("build:p%40ss%2Fword"), "NO_PROXY": "localhost,.test"}
    scrubber = Scrubber(passwords(settings(), environ))
    text = "build:p%40ss%2Fword, p%40ss%2Fword, p@ss/word, proxy.test, build, localhost"
    assert scrubber.text(text) == "***, ***, ***, proxy.test, build, localhost"
    basic = base64.b64encode(b"build:p@ss/word").decode()
    assert scrubber.text(basic).strip("=") == "***"


@pytest.mark.parametrize("user", ["ghp_0123", "ghp_0123:", "ghp_0123:x-oauth-basic"])
def test_a_token_in_the_place_of_a_user_is_masked(user: str) -> None:
    environ = {"PIP_INDEX_URL": f"https://{user}@pypi.test/simple"}
    assert Scrubber(passwords(settings(), environ)).text("say ghp_0123!") == "say ***!"


def test_variables_that_are_not_passed_on_are_ignored() -> None:
    assert passwords(settings(local_env=()), {"HTTPS_PROXY": "http://a:secret@b"}) == set()


def test_values_that_overlap_are_masked_together() -> None:
    assert Scrubber(["abcdefgh", "efghijkl"]).text("-abcdefghijkl-") == "-***-"


@pytest.mark.parametrize("value", ["a" * 65_536, "".join(map(chr, range(40, 104))) * 1_024])
@pytest.mark.parametrize("cut", [1, 3, 30, 1_000, 65_535])
def test_a_long_value_is_masked_whole_and_cut(value: str, cut: int) -> None:
    scrubber = Scrubber([value])
    assert scrubber.text(f"<{value}>") == "<***>"
    for text in (scrubber.before_cut("<" + value[:cut]), scrubber.after_cut(value[-cut:] + ">")):
        assert len(text) <= len("<***") + 3, text[:100]


def test_a_secret_file_above_the_bound_is_refused_and_not_cut(tmp_path: Path) -> None:
    (tmp_path / "large").write_text("x" * 65_537)
    submitted = job(secrets={"X": f"file://{tmp_path}/large"})
    with pytest.raises(PolicyRefused, match="above 65536 bytes"):
        resolve_secrets(submitted, settings(secret_files=(str(tmp_path),)), {})


class Counted(str):
    """Text that counts the characters that are sliced from it."""

    cut = 0

    def __getitem__(self, key: SupportsIndex | slice) -> "Counted":
        escape = Counted(super().__getitem__(key))
        Counted.cut += len(escape)
        return escape


@pytest.mark.parametrize("unit", ["a", "ab", "key=\n    ", "x1y2z3w4"])
def test_the_work_is_linear_in_the_text_and_does_not_grow_with_the_values(unit: str) -> None:
    def work(value_bytes: int, text_bytes: int) -> int:
        value = unit * (value_bytes // len(unit))
        text = Counted((unit * text_bytes)[:text_bytes])
        scrubber = Scrubber([value, *(f"{value[:8]}{n}" for n in range(value_bytes // 64))])
        before = Counted.cut
        for do in (scrubber.text, scrubber.before_cut, scrubber.after_cut, scrubber.chunk):
            do(text)
        return Counted.cut - before

    once = work(16_384, 4_096)
    assert work(16_384, 8_192) <= 2.2 * once
    assert work(65_536, 4_096) <= 1.2 * once


def test_value_is_masked_where_json_escapes_it() -> None:
    value = 'quo"te\\d'
    masked = Scrubber([value]).text(json.dumps({"k": value}))
    assert masked == '{"k": "***"}'


def test_each_line_of_a_value_is_masked() -> None:
    assert Scrubber(["first line\nsecond line"]).text("x second line y") == "x *** y"


def test_short_values_are_not_masked() -> None:
    assert Scrubber(["abc", ""]).text("abc") == "abc"


@pytest.mark.parametrize("cut", range(4, len(TOKEN)))
def test_value_cut_at_an_end_is_masked(cut: int) -> None:
    scrubber = Scrubber([TOKEN])
    assert scrubber.before_cut(f"head {TOKEN[:cut]}") == "head ***"
    assert scrubber.after_cut(f"{TOKEN[-cut:]} tail") == "*** tail"


def test_name_key_belongs_to_a_home_and_is_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert name_key(home) == name_key(home) != name_key(tmp_path / "other")
    (file,) = home.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_unwritable_home_gives_a_key_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    assert len(name_key(tmp_path / "home")) == 32


def test_private_paths_are_settings_secrets_blobs_scratch_and_sockets(tmp_path: Path) -> None:
    settings = load_settings(
        {
            "REVALID_HOME": str(tmp_path / "home"),
            "REVALID_SECRET_FILES": f"{tmp_path}/secrets,{tmp_path}/more",
            "REVALID_BLOB_URL": f"file://{tmp_path}/blobs",
            "REVALID_SCRATCH": str(tmp_path / "scratch"),
            "REVALID_BROKER_URL": f"unix://{tmp_path}/redis/socket?db=0",
        },
        env_file=None,
    )
    paths = private_paths(settings, {"_EXPERIMENTAL_DAGGER_RUNNER_HOST": "unix:///engine/socket"})
    names = ("home", "secrets", "more", "blobs", "scratch", "redis")
    expected = {tmp_path / name for name in names}
    assert set(paths) == expected | {Path(".env").absolute(), Path("/engine")}
