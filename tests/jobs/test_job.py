"""Jobs: their identity, what they refuse, and messages of one line."""

import json
import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from revalid.jobs.errors import InvalidJob
from revalid.jobs.job import (
    DEFAULT_IMAGE,
    IMAGE,
    MAX_BYTES,
    Job,
    Limits,
    SandboxPolicy,
    StrategyName,
    parse_job,
)
from tests.jobs.samples import DIGEST, SOURCE, make_job

STEPS = [
    {"op": "write_files", "files": {"b": "1", "a": "2"}},
    {"op": "exec", "command": "make"},
]
FULL: dict[str, Any] = {
    "source": SOURCE,
    "strategy": "command",
    "steps": STEPS,
    "env": {"B": "1", "A": "2"},
    "secrets": {"TOKEN": "env://DATABRICKS_TOKEN", "KEY": "file:///run/secrets/key"},
    "limits": {"job_timeout_s": 60, "command_timeout_s": 10},
}
FULL_ID = parse_job(FULL).id
OTHER: dict[str, Any] = {
    "tenant": "other",
    "source": {"kind": "tarball", "digest": "cd" * 32, "size_bytes": 10},
    "strategy": "trajectory",
    "steps": [*STEPS, {"op": "exec", "command": "make test"}],
    "image": "node:22-alpine",
    "fixed_image": True,
    "env": {"B": "1", "A": "3"},
    "secrets": {},
    "protected": ["secrets/*"],
    "artifacts": ["dist"],
    "limits": {"job_timeout_s": 61, "command_timeout_s": 10},
    "services": [{"kind": "postgres", "image": "postgres:17"}],
    "flaky": "pass",
    "project_config": False,
    "matrix": {"node": "22"},
    "sandbox": "local",
    "keep_going": True,
    "session": True,
    "expect_tests": 3,
    "overlay": {"kind": "tarball", "digest": "ef" * 32, "size_bytes": 10},
    "user": "root",
    "nonce": "1",
}
DETECTED: dict[str, Any] = {"skip": ["lint"], "require": ["tests"]}
"""Fields that only a strategy which finds the checks takes."""
NOT_DECIDING: dict[str, Any] = {"labels": {"app": "todo"}, "lane": "batch"}


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


def test_the_id_does_not_depend_on_the_order_of_keys() -> None:
    other = reversed_keys(FULL)
    assert list(other) != list(FULL)
    assert parse_job(other).id == FULL_ID


def test_the_id_is_the_same_in_every_process() -> None:
    code = (
        "import sys; from revalid.jobs.job import parse_job; print(parse_job(sys.stdin.read()).id)"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(FULL),
        env={"PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert other.stdout.strip() == FULL_ID


def test_each_field_changes_the_id_or_is_listed() -> None:
    fixed = {"schema_version"}
    assert Job.model_fields.keys() == OTHER.keys() | DETECTED.keys() | NOT_DECIDING.keys() | fixed


@pytest.mark.parametrize("field", OTHER)
def test_the_id_changes_with(field: str) -> None:
    assert parse_job(FULL | {field: OTHER[field]}).id != FULL_ID


@pytest.mark.parametrize("field", DETECTED)
def test_the_id_of_a_job_with_detected_checks_changes_with(field: str) -> None:
    detected = FULL | {"strategy": "auto", "steps": []}
    assert parse_job(detected | {field: DETECTED[field]}).id != parse_job(detected).id
    with pytest.raises(InvalidJob, match="skip and require are for strategies that find"):
        parse_job(FULL | {field: DETECTED[field]})


def test_a_check_is_not_skipped_and_required() -> None:
    with pytest.raises(InvalidJob, match="tests: skipped and required"):
        make_job(strategy="auto", steps=[], skip=["tests"], require=["tests", "build"])


@pytest.mark.parametrize("field", NOT_DECIDING)
def test_the_id_does_not_change_with(field: str) -> None:
    assert parse_job(FULL | {field: NOT_DECIDING[field]}).id == FULL_ID


def test_the_id_changes_with_each_limit() -> None:
    others: dict[str, Any] = {"cpu_s": 5, "required": ["memory"]}
    for name, field in Limits.model_fields.items():
        if name != "engine_wait_s":  # says nothing of the project
            others.setdefault(name, field.default and field.default + 1)
    ids = {make_job(limits={name: value}).id for name, value in others.items()}
    assert len(ids | {make_job().id}) == len(others) + 1


def test_the_lane_decides_the_default_wait_for_an_engine() -> None:
    waiting = [make_job(), make_job(lane="batch"), make_job(limits={"engine_wait_s": 3})]
    assert [job.engine_wait_s for job in waiting] == [15, 600, 3]
    assert len({job.id for job in waiting}) == 1


def test_a_required_limit_must_be_set() -> None:
    with pytest.raises(InvalidJob, match="requires cpu, but sets no cpu_s"):
        make_job(limits={"required": ["cpu"]})
    assert make_job(limits={"required": ["cpu"], "cpu_s": 1}).limits.cpu_s == 1


def test_json_brings_a_job_back() -> None:
    job = parse_job(FULL | OTHER | NOT_DECIDING | {"strategy": "command"})
    copy = parse_job(job.model_dump_json())
    assert copy == job
    assert copy.id == job.id
    assert parse_job(job.model_dump_json().encode()) == job


def test_a_job_is_frozen() -> None:
    job = make_job()
    for field in Job.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(job, field, getattr(job, field))


def test_defaults_of_a_job() -> None:
    job = make_job()
    assert (job.strategy, job.image, job.sandbox) == (StrategyName.AUTO, DEFAULT_IMAGE, None)
    assert job.limits.command_timeout_s == 600
    assert make_job(sandbox="dagger").sandbox is SandboxPolicy.DAGGER


@pytest.mark.parametrize(
    "image",
    [
        "node",
        DEFAULT_IMAGE,
        "library/node",
        "node:20",
        "ghcr.io/a/b/c:v1.2_3-x",
        "localhost/app",
        "localhost:5000/app",
        "Registry.Example.com/app",
        "[::1]:5000/app:x",
        "10.0.0.1:5000/app",
        "a__b/c--d/e.f",
        f"node@sha256:{DIGEST}",
        f"node:20@sha256:{DIGEST}",
        "node:" + "x" * 128,
    ],
)
def test_an_image_reference(image: str) -> None:
    assert make_job(image=image).image == image


@pytest.mark.parametrize(
    "image",
    [
        "",
        " ",
        "Node",
        "library/Node",
        "node:",
        "node:20 ",
        "node:20\n",
        "node: 20",
        "node:-x",
        "node:20:21",
        "node:" + "x" * 129,
        "node@20",
        "node@sha256:" + DIGEST[1:],
        f"node@sha256:{DIGEST.upper()}",
        f"node@sha256:{DIGEST}0",
        f"node@md5:{DIGEST}",
        "node/",
        "/node",
        "a//b",
        "-node",
        "node-",
        "a___b",
        "a..b",
        "a..b/app",
        "a-.b/app",
        ".a/app",
        "a:port/app",
        "a:123456/app",
        "https://ghcr.io/app",
        "docker://node",
        "../node",
        "node;ls",
        "$(ls)",
        "nödé",
        "x" * 513,
    ],
)
def test_no_image_reference(image: str) -> None:
    with pytest.raises(InvalidJob, match=r"^the job is not valid: .*image"):
        make_job(image=image)
    assert len(image) > 512 or not IMAGE.match(image)


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "A\n", "Ä", "A.B", "A\0"])
@pytest.mark.parametrize("field", ["env", "secrets"])
def test_a_bad_variable_name_is_refused(field: str, name: str) -> None:
    with pytest.raises(InvalidJob, match=r"is not a variable name: use letters, digits and _$"):
        make_job(**{field: {"GOOD": "env://A", name: "env://A"}})


@pytest.mark.parametrize("name", ["A", "_", "a1_B2", "npm_config_registry"])
def test_a_variable_name(name: str) -> None:
    assert make_job(env={name: ""}).env == {name: ""}
    assert make_job(secrets={name: "env://A"}).secrets == {name: "env://A"}


@pytest.mark.parametrize(
    "reference",
    ["hunter2", "", "env://", "env://A B", "env://1", "env://A\n", "file://key", "file:///", "A"],
)
def test_a_secret_is_named_by_reference_alone(reference: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        make_job(secrets={"TOKEN": reference})
    assert "secrets.TOKEN" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_name_is_a_variable_or_a_secret() -> None:
    with pytest.raises(InvalidJob, match="A, B: set as a variable and as a secret: keep one"):
        make_job(env={"B": "1", "A": "2", "C": "3"}, secrets={"A": "env://X", "B": "env://X"})


@pytest.mark.parametrize("strategy", ["command", "trajectory"])
def test_a_strategy_that_carries_steps_needs_some(strategy: str) -> None:
    with pytest.raises(InvalidJob, match=f"strategy '{strategy}' needs at least one step"):
        make_job(strategy=strategy)
    assert len(make_job(strategy=strategy, steps=STEPS).steps) == 2


@pytest.mark.parametrize("strategy", ["auto", "trpc", "npm", "python"])
def test_a_strategy_that_makes_steps_takes_none(strategy: str) -> None:
    with pytest.raises(InvalidJob, match=f"strategy '{strategy}' makes its own steps: use 'comm"):
        make_job(strategy=strategy, steps=STEPS)


def test_only_a_trajectory_may_have_no_project() -> None:
    assert parse_job({"strategy": "trajectory", "steps": STEPS}).source is None
    for fields in ({}, {"strategy": "command", "steps": STEPS}):
        with pytest.raises(InvalidJob, match="no project: give a directory or a tarball"):
            parse_job(fields)


PROTECTED_FROM_MANY = {
    "protected": [f"*{number}" for number in range(256)],
    "steps": [{"op": "write_files", "files": {f"a/{n:06}": "" for n in range(10_000)}}],
}


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_an_unknown_schema_version_is_refused(version: object) -> None:
    with pytest.raises(InvalidJob, match="schema_version: Input should be 1"):
        parse_job({"source": SOURCE, "schema_version": version})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"source": SOURCE, "imagee": "x"}, ["imagee: Extra inputs are not permitted"]),
        ({"source": SOURCE, "tenant": "a b", "lane": "x"}, ["tenant: ", "; lane: "]),
        ({"source": SOURCE, "strategy": "command", "steps": [{"op": "exec"}]}, ["steps.0.exec.co"]),
        ({"source": SOURCE, "limits": {"job_timeout_s": 0}}, ["limits.job_timeout_s: "]),
        ({"source": SOURCE, "\ud800": 1}, ["Input should be a valid string"]),
        ({"source": SOURCE, "a\nb\u2028c": 1}, ["a b c: Extra inputs are not permitted"]),
        ({"source": SOURCE, "env": {"A\nB": ""}}, [r"'A\nB' is not a variable name"]),
        ({"source": SOURCE, "env": {"A": "\ud800"}}, ["env.A: "]),
        ({"source": SOURCE, "labels": {"a": "\ud800"}}, ["labels.a: ", "surrogates not allowed"]),
        ({"source": SOURCE, "labels": {"\ud800": "a"}}, ["surrogates not allowed"]),
        ({"source": SOURCE, "protected": ["\ud800"]}, ["protected.0: "]),
        ({"source": SOURCE, "protected": ["a"] * 257}, ["protected: "]),
        ({"source": SOURCE, "protected": ["a["]}, ["'a[' has a [ without its ]"]),
        ({"source": SOURCE, "protected": ["*a" * 600]}, ["longer than 1024 characters"]),
        ({"strategy": "trajectory", **PROTECTED_FROM_MANY}, ["protected: too many or too long"]),
        ({"source": SOURCE, "artifacts": ["dist/[a"]}, ["has a [ without its ]"]),
        ("{", ["Invalid JSON"]),
        ("\ud800", ["string"]),
        (b"\xff", ["Invalid JSON"]),
        ("[" * 100_000, ["Invalid JSON"]),
        ([], ["Input should be"]),
        (None, ["Input should be"]),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict | str | bytes) else None,
)
def test_a_parse_error_is_one_line(data: object, words: list[str]) -> None:
    with pytest.raises(InvalidJob) as caught:
        parse_job(data)
    message = str(caught.value)
    assert message.startswith("the job is not valid: ")
    assert message.encode().decode().splitlines() == [message]
    assert all(word in message for word in words)


@pytest.mark.parametrize("field", [{"keep_going": True}, {"user": "root"}, {"session": True}])
def test_a_job_without_a_newer_field_is_written_as_before(field: dict[str, Any]) -> None:
    commands = {"strategy": "command", "steps": [{"op": "exec", "command": "true"}]}
    job = make_job(**commands)
    assert not field.keys() & job.model_dump().keys()  # nor in its id: workers may be older
    with_it = make_job(**commands, **field)
    assert parse_job(with_it.model_dump_json()) == with_it
    assert with_it.id != job.id


def test_only_commands_keep_going() -> None:
    with pytest.raises(InvalidJob, match="keep_going needs strategy 'command'"):
        make_job(strategy="npm", keep_going=True)


def test_only_given_commands_are_a_session() -> None:
    with pytest.raises(InvalidJob, match="session needs given commands or steps"):
        make_job(strategy="npm", session=True)


def test_the_size_of_a_job_is_bounded_for_every_reader() -> None:
    steps = [{"op": "write_file", "path": "a", "content": "x" * (MAX_BYTES // 4)}] * 4
    fields = {"strategy": "trajectory", "steps": steps}
    for data in (fields, json.dumps(fields)):
        with pytest.raises(InvalidJob, match=f"bytes, more than {MAX_BYTES}: put files into"):
            parse_job(data)
