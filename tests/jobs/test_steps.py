"""Steps as values: refused fields, and the round trip of each type through JSON."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from revalid.jobs.steps import (
    DeleteFile,
    Exec,
    ExportDirectory,
    Frozen,
    ListDirectory,
    ReadFile,
    RefreshFromHost,
    SetEnv,
    SetWorkdir,
    Step,
    WriteFile,
    WriteFiles,
)

STEP: TypeAdapter[Step] = TypeAdapter(Step)
ALL: tuple[Step, ...] = (
    Exec(command="npm test\nnpm run build", name="tests", timeout_s=1.5, allow_failure=True),
    WriteFile(path="a/b.txt", content="ünïcode\n", mode=0o755),
    WriteFiles(files={"a": "1", "b": ""}),
    ReadFile(path="a"),
    DeleteFile(path="a"),
    ListDirectory(),
    SetWorkdir(path="/app"),
    SetEnv(name="CI", value="1"),
    ExportDirectory(path="dist"),
    RefreshFromHost(host_path="/srv/app", path="app"),
)


def test_the_steps_are_those_of_the_design() -> None:
    designed = "write_file write_files delete_file exec set_workdir set_env read_file"
    designed += " list_directory export_directory refresh_from_host"
    assert sorted(step.op for step in ALL) == sorted(designed.split())
    (schema,) = [STEP.json_schema()["discriminator"]["mapping"]]
    assert schema.keys() == {step.op for step in ALL}


@pytest.mark.parametrize("step", ALL, ids=lambda step: step.op)
def test_json_brings_a_step_back_as_its_own_type(step: Step) -> None:
    copy = STEP.validate_json(STEP.dump_json(step))
    assert (type(copy), copy) == (type(step), step)


@pytest.mark.parametrize("step", ALL, ids=lambda step: step.op)
def test_a_step_is_frozen(step: Frozen) -> None:
    for field in type(step).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(step, field, getattr(step, field))


@pytest.mark.parametrize("step", ALL, ids=lambda step: step.op)
def test_an_unknown_field_is_refused(step: Frozen) -> None:
    with pytest.raises(ValidationError, match=r"pth\n  Extra inputs are not permitted"):
        STEP.validate_python({**step.model_dump(), "pth": "a"})


@pytest.mark.parametrize(
    "fields",
    [
        {"op": "run", "command": "ls"},
        {"command": "ls"},
        {"op": "exec", "command": ""},
        {"op": "exec", "command": " \n"},
        {"op": "exec", "command": "ls\0"},
        {"op": "exec", "command": "x" * 100_001},
        {"op": "exec", "command": "ls", "name": ""},
        {"op": "exec", "command": "ls", "timeout_s": 0},
        {"op": "exec", "command": "ls", "timeout_s": 86_401},
        {"op": "exec", "command": "ls", "timeout_s": float("nan")},
        {"op": "exec", "command": "ls", "timeout_s": float("inf")},
        {"op": "read_file", "path": ""},
        {"op": "read_file", "path": "a\0b"},
        {"op": "read_file", "path": "a\n"},
        {"op": "read_file", "path": "a\rb"},
        {"op": "read_file", "path": "x" * 4097},
        {"op": "read_file", "path": "\ud800"},
        {"op": "write_file", "path": "a"},
        {"op": "write_file", "path": "a", "content": "", "mode": -1},
        {"op": "write_file", "path": "a", "content": "", "mode": 0o10000},
        {"op": "write_file", "path": "a", "content": "\ud800"},
        {"op": "write_files", "files": {}},
        {"op": "write_files", "files": {"a\n": ""}},
        {"op": "set_env", "name": "1A", "value": ""},
        {"op": "set_env", "name": "A=B", "value": ""},
        {"op": "set_env", "name": "A\n", "value": ""},
        {"op": "set_env", "name": "A", "value": "a\0b"},
        {"op": "refresh_from_host", "path": "a"},
    ],
    ids=lambda fields: str(fields)[:60],
)
def test_a_bad_step_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        STEP.validate_python(fields)


def test_a_text_file_is_0644_unless_told_otherwise() -> None:
    assert WriteFile(path="a", content="").mode == 0o644
