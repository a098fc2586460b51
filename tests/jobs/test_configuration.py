"""The configuration of a project is read as hostile input, and its faults are named."""

import json
import tomllib
from typing import Any

import pytest
from jsonschema import ValidationError as JsonSchemaError

from revalid.jobs.configuration import Configuration, Configured, Matrix, read_configuration
from revalid.jobs.errors import InvalidProject
from revalid.jobs.services import Service, ServiceKind
from tests.documents import validate

FULL = """
skip = ["lint"]
require = ["tests"]
image = "node:22-alpine3.22"
services = ["postgres", "redis=redis:8", {kind = "mysql"}]
artifacts = ["dist"]
expect_tests = 12
flaky = "fail"

[env]
LOG_LEVEL = "debug"

[[commands]]
name = "smoke"
run = "node smoke.js"

[start]
command = "node server.js"
path = "/health"
port = 4000

[matrix]
node = [20, "22"]
"""


def read(**files: str | bytes) -> Configured | None:
    """Read a project with these files; ``_`` stands for a dot in a name."""
    named = {
        name.replace("_", "."): text.encode() if isinstance(text, str) else text
        for name, text in files.items()
    }

    def start(path: str, limit: int) -> bytes | None:
        data = named.get(path)
        return data if data is None else data[:limit]

    return read_configuration(start)


def error_of(**files: str | bytes) -> str:
    """Return why files are refused; always one line."""
    with pytest.raises(InvalidProject) as caught:
        read(**files)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2_000
    return str(caught.value)


def test_every_key_is_read() -> None:
    configured = read(revalid_toml=FULL)
    assert configured is not None
    assert configured.file == "revalid.toml"
    configuration = configured.configuration
    assert configuration.model_fields_set == set(Configuration.model_fields)
    assert configuration.services == (
        Service(kind=ServiceKind.POSTGRES),
        Service(kind=ServiceKind.REDIS, image="redis:8"),
        Service(kind=ServiceKind.MYSQL),
    )
    assert configuration.matrix is not None
    assert configuration.matrix.entries == [{"node": "20"}, {"node": "22"}]


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject_toml": '[tool.revalid]\nskip = ["lint"]'},
        {"package_json": '{"revalid": {"skip": ["lint"]}}'},
        {
            "revalid_toml": 'skip = ["lint"]',
            "package_json": '{"devDependencies": {"revalid": "1"}}',
        },
        {"revalid_toml": b'\xef\xbb\xbfskip = ["lint"]', "pyproject_toml": "no TOML"},
    ],
)
def test_each_place_is_read(files: dict[str, Any]) -> None:
    configured = read(**files)
    assert configured is not None
    assert configured.configuration == Configuration(skip=("lint",))


@pytest.mark.parametrize(
    "files",
    [{}, {"package_json": "{}"}, {"pyproject_toml": "[tool.other]", "package_json": "no JSON"}],
)
def test_most_projects_have_none(files: dict[str, Any]) -> None:
    assert read(**files) is None


def test_two_are_refused() -> None:
    assert error_of(revalid_toml="", package_json='{"revalid": {}}') == (
        "the configuration is in revalid.toml and in package.json: keep one"
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            '\nskp = ["lint"]',
            "revalid.toml:2: skp: no such key: did you mean 'skip'? the keys are skip, require, ",
        ),
        ("[start]\npth = '/'", "revalid.toml:2: start.pth: no such key: did you mean 'path'?"),
        ('skip = ["lnt"]', "revalid.toml:1: skip.0: 'lnt' is none of 'build', 'typecheck', "),
        ('skip = ["lnt"]', ": did you mean 'lint'?"),
        ('skip = "lint"', "revalid.toml:1: skip: give a list, such as "),
        ('a = "x"\nexpect_tests = "3"', "revalid.toml:2: expect_tests: give a whole number"),
        ("expect_tests = true", "expect_tests: give a whole number"),
        ("expect_tests = 0", "expect_tests: Input should be greater than or equal to 1"),
        ("env = 3", "revalid.toml:1: env: give a table of names and values"),
        ("[env]\nA = 3", "revalid.toml:2: env.A: give a string in quotes; 3 is not right"),
        ("start = 3", "start: give a table"),
        ("commands = ['npm test']", "commands.0: give a table of keys and values"),
        ("[[commands]]\nrun = 'x'", "commands.0.name: it is missing"),
        ("[matrix]\npython = [3.10]", "put the version in quotes"),
        ("[matrix]\nnode = [20]\npython = ['3.12']", "give one of node, python and image"),
        ("[matrix]\nnode = []", "give one of node, python and image"),
        ("skip = ['tests']\nrequire = ['tests']", "tests: skipped and required"),
        ("skip = ['tests']\nexpect_tests = 3", "expect_tests: the tests are skipped"),
        ("artifacts = ['../x']", "artifacts '../x': give paths below the project"),
        ("services = ['redis', 'redis=redis:8']", "services: redis is given twice"),
        ("image = 'No Such'", "revalid.toml:1: image: not in the form"),
        ("services = ['oracle']", "services.0.kind: 'oracle' is none of 'postgres', "),
        ("skip = [", "revalid.toml is not TOML: Invalid value (at end of document)"),
        ("a = 1\nb == 2", "revalid.toml is not TOML: Invalid value (at line 2, column 4)"),
        ("[start]\nport = 0", "revalid.toml:2: start.port: "),
        ("[start]\npath = 'x'", "revalid.toml:2: start.path: not in the form"),
    ],
)
def test_a_fault_is_named_with_file_line_and_key(text: str, error: str) -> None:
    assert error in error_of(revalid_toml=text)


def test_a_fault_in_another_file_has_its_line() -> None:
    text = '[project]\nname = "skip"\n[tool.revalid]\nskip = 3'
    assert error_of(pyproject_toml=text).startswith("pyproject.toml:4: skip: give a list")
    text = '{\n"skip": 1,\n"revalid": {\n"skip": 3}}'
    assert error_of(package_json=text).startswith("package.json:4: skip: give a list")
    assert error_of(package_json='{"revalid": 3}') == (
        "package.json: revalid is not a table; write its keys below it"
    )


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "REVALID_IMAGE", "HTTPS_PROXY"),
        *("http_proxy", "DOCKER_HOST", "BASH_ENV", "CI", "GLIBC_TUNABLES", "OTEL_TRACES_EXPORTER"),
        *("A-B", "A=B", "1A", ""),
    ],
)
def test_variables_of_the_sandbox_are_not_for_a_project(name: str) -> None:
    assert "env" in error_of(revalid_toml=f'[env]\n"{name}" = "x"')


@pytest.mark.parametrize(
    "key",
    [
        *("secrets", "user", "sandbox", "limits", "network", "overlay", "tenant", "timeout"),
        *("protected", "webhook", "steps", "source", "labels", "lane", "__proto__", "constructor"),
        *("__class__", "model_config", "model_fields_set", "copy"),
    ],
)
def test_nothing_can_be_asked_for_that_only_the_caller_decides(key: str) -> None:
    assert f"{key}: no such key" in error_of(revalid_toml=f'{key} = "x"')
    assert f"{key}: no such key" in error_of(package_json=json.dumps({"revalid": {key: {}}}))


@pytest.mark.parametrize(
    "text",
    [
        b"#" * 10_000_000,
        b"a = " + b"[" * 50_000,
        b"a = " + b"{a=" * 20_000,
        b"\n".join(b"k%d = 1" % number for number in range(6_000)),
        b".".join([b"a"] * 20_000) + b" = 1",
        b'"' + '"."\u2028'.join(["x"] * 5_000).encode() + b'" = 1',
        b"[" + b"a." * 30_000 + b"a]",
        b"skip = [" + b"'lint'," * 9_000 + b"'x']",
        b"a = 1" + b"0" * 60_000,
        b"skip = ['\0']",
        b"\0",
        b"\xff\xfe",
        b'env = {A = "\\u0000"}',
        "skip = ['\u202e']".encode(),
        b"image = '" + b"a" * 60_000 + b"'",
        b'[[commands]]\nname = "a\\nb"\nrun = "x"',
        b"".join(b"[[commands]]\nname = 'a%d'\nrun = 'x'\n" % number for number in range(33)),
        b"[[commands]]\nname = 'a'\nrun = 'x'\n" * 2,
        b"expect_tests = 99999999999999999999",
    ],
    ids=range(19),
)
def test_a_hostile_file_gets_one_short_line(text: bytes) -> None:
    error_of(revalid_toml=text)


@pytest.mark.parametrize(
    "text",
    [
        '{"revalid": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"revalid": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}",
        '{"revalid": {"skip": [' + "1," * 400_000 + "1]}}",
        '{"revalid": {' + ",".join(f'"k{n}": 1' for n in range(60_000)) + "}}",
        '{"revalid": {"expect_tests": ' + "9" * 10_000 + "}}",
        '{"revalid": {"expect_tests": NaN}}',
        '{"revalid": {"env": {"A": "\\ud800"}}}',
        '{"revalid"',
        " " * (1 << 20) + '{"revalid": {}}',
    ],
    ids=range(9),
)
def test_hostile_json_gets_one_short_line(text: str) -> None:
    padded = text if "revalid" in text[: 1 << 20] else f'"revalid"{text}'
    error_of(package_json=padded)


def test_a_matrix_names_each_entry_once() -> None:
    assert Matrix(node=("20", "20", "22")).entries == [{"node": "20"}, {"node": "22"}]


def test_the_schema_takes_what_the_reader_takes() -> None:
    validate("configuration", tomllib.loads(FULL))
    with pytest.raises(JsonSchemaError):
        validate("configuration", {"skp": []})
