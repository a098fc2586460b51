"""Contract: workdir, environment, forks and the end."""

import asyncio

import pytest

from revalid.worker.sandboxes.protocol import Sandbox, StepFailed
from tests.contract.checks import names, output
from tests.contract.conftest import Forker

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_new_sandbox_is_empty_at_its_workdir(sandbox: Sandbox) -> None:
    assert sandbox.workdir == "/workspace"
    assert await names(sandbox) == []


@pytest.mark.parametrize(
    ("path", "workdir"),
    [
        ("sub", "/workspace/sub"),
        ("new/and/nested", "/workspace/new/and/nested"),
        ("/tmp/app", "/tmp/app"),
        ("../tmp", "/tmp"),
        (".", "/workspace"),
        ('it\'s a "dir"', '/workspace/it\'s a "dir"'),
    ],
)
async def test_set_workdir(sandbox: Sandbox, path: str, workdir: str) -> None:
    await sandbox.set_workdir(path)
    assert sandbox.workdir == workdir
    await sandbox.write_file("written", "1")
    assert await output(sandbox, "cat written; printf 2 > by-command") == "1"
    assert await sandbox.read_file(f"{workdir}/by-command") == b"2"


async def test_set_workdir_is_relative_to_the_last_one(sandbox: Sandbox) -> None:
    await sandbox.set_workdir("a")
    await sandbox.set_workdir("b")
    assert sandbox.workdir == "/workspace/a/b"
    await sandbox.set_workdir("../c")
    assert sandbox.workdir == "/workspace/a/c"
    await sandbox.set_workdir("/workspace")
    assert await names(sandbox, "a") == ["b", "c"]


async def test_workdir_cannot_be_a_file(sandbox: Sandbox) -> None:
    await sandbox.write_file("file", "x")
    with pytest.raises(StepFailed, match=r"set_workdir .*file"):
        await sandbox.set_workdir("file")
    assert sandbox.workdir == "/workspace"
    assert await output(sandbox, "cat file") == "x"


async def test_changing_directory_lasts_for_one_command(sandbox: Sandbox) -> None:
    await sandbox.exec("mkdir sub && cd sub && : > inner")
    assert await output(sandbox, "ls") == "sub\n"


async def test_environment(sandbox: Sandbox) -> None:
    awkward = 'it\'s "x" $HOME `id`\nnext ☃'
    sandbox.with_env("FIRST", awkward)
    sandbox.with_envs({"SECOND": "2", "EMPTY": ""})
    assert (
        await output(sandbox, 'printf "%s|" "$FIRST" "$SECOND" "${EMPTY-unset}"')
        == f"{awkward}|2||"
    )


async def test_commands_have_one_environment_and_nothing_of_the_engine(sandbox: Sandbox) -> None:
    assert (
        await output(sandbox, "echo $CI $LANG ${TZ-unset}; date +%Z") == "true C.UTF-8 UTC\nUTC\n"
    )
    assert await output(sandbox, "env | grep -E '^(OTEL|TRACE|BAGGAGE|REVALID)'; :") == ""


async def test_telemetry_variables_are_the_jobs_own(sandbox: Sandbox) -> None:
    awkward = 'it\'s "x" $HOME `id`'
    sandbox.with_env("OTEL_EXPORTER_OTLP_ENDPOINT", awkward)
    sandbox.with_secret("BAGGAGE", "user=1")
    printed = await output(sandbox, "env | grep -E '^(OTEL|TRACE|BAGGAGE|REVALID)' | sort")
    assert printed == f"BAGGAGE=user=1\nOTEL_EXPORTER_OTLP_ENDPOINT={awkward}\n"


async def test_later_variables_override(sandbox: Sandbox) -> None:
    sandbox.with_env("NAME", "first")
    sandbox.with_envs({"NAME": "second", "PATH_LIKE": "/a:/b"})
    assert await output(sandbox, "echo $NAME") == "second\n"
    sandbox.with_env("NAME", "third")
    assert await output(sandbox, "echo $NAME $PATH_LIKE") == "third /a:/b\n"


async def test_exported_variable_lasts_for_one_command(sandbox: Sandbox) -> None:
    await sandbox.exec("export LEAKED=1")
    assert await output(sandbox, "echo ${LEAKED-unset}") == "unset\n"


async def test_commands_see_secrets(sandbox: Sandbox) -> None:
    sandbox.with_secret("TOKEN", "s3cret 'value'")
    assert await output(sandbox, 'printf %s "$TOKEN"') == "s3cret 'value'"
    sandbox.with_secret("TOKEN", "changed")
    assert await output(sandbox, 'printf %s "$TOKEN"') == "changed"


async def test_fork_starts_from_the_whole_state(sandbox: Sandbox, fork: Forker) -> None:
    await sandbox.write_file("real/tool", "#!/bin/sh\necho ran\n", mode=0o755)
    await output(sandbox, "mkdir bin; ln -s ../real/tool bin/tool; echo x > $HOME/.config-file")
    await sandbox.set_workdir("bin")
    sandbox.with_env("NAME", "value")
    sandbox.with_secret("TOKEN", "s3cret")
    child = await fork(sandbox)
    assert (child.kind, child.workdir) == (sandbox.kind, "/workspace/bin")
    printed = await output(child, "./tool; readlink tool; echo $NAME $TOKEN; cat ~/.config-file")
    assert printed == "ran\n../real/tool\nvalue s3cret\nx\n"


async def test_forks_do_not_see_each_other(sandbox: Sandbox, fork: Forker) -> None:
    await sandbox.write_files({"shared": "original", "doomed": "x"})
    sandbox.with_env("NAME", "original")
    child = await fork(sandbox)

    await child.write_file("shared", "by the child")
    await child.delete_file("doomed")
    await output(child, "echo x > of-child; echo x > $HOME/of-child")
    child.with_env("NAME", "child")
    await child.set_workdir("elsewhere")
    assert await names(sandbox) == ["doomed", "shared"]
    assert await output(sandbox, "cat shared; echo :$NAME; ls ~") == "original:original\n"

    await sandbox.write_file("shared", "by the parent")
    sandbox.with_envs({"NAME": "parent", "NEW": "1"})
    assert await output(child, "cat ../shared; echo :$NAME${NEW-}") == "by the child:child\n"
    assert sandbox.workdir == "/workspace"


async def test_fork_outlives_its_parent(sandbox: Sandbox, fork: Forker) -> None:
    await sandbox.write_file("file", "kept")
    child = await fork(sandbox)
    await sandbox.close()
    assert await output(child, "cat file") == "kept"


async def test_concurrent_forks(sandbox: Sandbox, fork: Forker) -> None:
    await sandbox.write_file("base", "b")
    children = await asyncio.gather(*(fork(sandbox) for _ in range(4)))
    await asyncio.gather(
        *(child.exec(f"cat base > own; printf {n} >> own") for n, child in enumerate(children))
    )
    assert [await child.read_file("own") for child in children] == [b"b0", b"b1", b"b2", b"b3"]
    assert await names(sandbox) == ["base"]


async def test_fork_of_a_fork(sandbox: Sandbox, fork: Forker) -> None:
    child = await fork(sandbox)
    await child.write_file("file", "x")
    assert await (await fork(child)).read_file("file") == b"x"
    assert await names(sandbox) == []


async def test_closing_twice_is_allowed(sandbox: Sandbox) -> None:
    await sandbox.write_file("file", "x")
    await sandbox.close()
    await sandbox.close()
    await asyncio.gather(sandbox.close(), sandbox.close())
