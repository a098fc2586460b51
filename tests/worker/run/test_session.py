"""Commands of one Bash session, each run as a command of its own in a real local sandbox."""

import pytest

from revalid.jobs.errors import ToolMissing
from revalid.jobs.steps import SetEnv, SetWorkdir
from revalid.worker.run.session import Session, check_bash
from revalid.worker.sandboxes.local.sandbox import LocalSandbox
from revalid.worker.sandboxes.protocol import ExecResult


class Terminal:
    """Runs lines in a session."""

    def __init__(self, sandbox: LocalSandbox) -> None:
        self.sandbox, self.session = sandbox, Session()

    async def result(self, line: str, *, timeout_s: float = 60) -> ExecResult:
        return await self.sandbox.exec(self.session.command(line), timeout_s=timeout_s)

    async def __call__(self, line: str, code: int = 0) -> str:
        result = await self.result(line)
        assert result.exit_code == code, result.stderr.head
        assert result.stderr.size == 0, result.stderr.head
        return result.stdout.head.decode()


@pytest.fixture
def run(local: LocalSandbox) -> Terminal:
    return Terminal(local)


@pytest.mark.parametrize(
    ("first", "second", "printed"),
    [
        ("mkdir -p 'a b'; cd 'a b'", 'basename "$PWD"', "a b\n"),
        ("export A='x \"y\" $z\n'", 'printf %s "$A"', 'x "y" $z\n'),
        ("A=1; B=(2 'a b')", "echo $A ${B[1]}", "1 a b\n"),
        ('greet() { echo hello "$1"; }', "greet you", "hello you\n"),
        ("export A=1; unset A", "echo ${A-none}", "none\n"),
        ("unset LANG", "echo ${LANG-none}", "none\n"),
        ("set -u -o pipefail; true", "false | cat; echo $? $-", None),
        ("PATH=/x:$PATH", "echo ${PATH%%:*}", "/x\n"),
        ("set -x", "set +x 2>/dev/null; echo on", "on\n"),
    ],
)
async def test_a_command_leaves_its_state(
    run: Terminal, first: str, second: str, printed: str | None
) -> None:
    await run.result(first)
    out = await run(second)
    assert out == printed if printed is not None else (out.startswith("1 ") and "u" in out)


async def test_a_virtual_environment_stays_active(run: Terminal) -> None:
    await run("mkdir -p v/bin; printf '#!/bin/sh\necho mine\n' >v/bin/tool; chmod +x v/bin/tool")
    await run("echo 'export PATH=$PWD/v/bin:$PATH' >activate; source ./activate")
    assert await run("cd /; tool") == "mine\n"


async def test_each_command_keeps_its_own_end(run: Terminal) -> None:
    assert (await run.result("export A=1; exit 3")).exit_code == 3
    assert await run("echo $A") == "1\n"
    assert (await run.result("set -e; export B=2; false; echo never")).exit_code == 1
    ended = await run.result("echo $B; false; echo never")
    assert (ended.exit_code, ended.stdout.head) == (1, b"2\n"), "set -e stays on, as in a session"
    await run.result("set +e")
    syntax = await run.result("if")
    assert syntax.exit_code != 0
    assert await run("echo $A") == "1\n"


async def test_a_command_that_is_ended_leaves_the_state_before_it(
    run: Terminal, short_grace: None
) -> None:
    await run("export A=1")
    slow = await run.result("export A=2; exec sleep 60", timeout_s=0.5)
    assert slow.timed_out
    assert await run("echo $A") == "1\n"


async def test_a_directory_that_is_gone_fails_the_next_command(run: Terminal) -> None:
    await run("mkdir -p gone; cd gone; rmdir ../gone")
    result = await run.result("touch file")
    assert result.exit_code == 1
    assert b"No such file" in result.stderr.head


async def test_a_later_step_wins_over_the_session(run: Terminal, local: LocalSandbox) -> None:
    await run("export A=1; mkdir -p deep; cd deep")
    local.with_env("A", "2")
    run.session.see(SetEnv(name="A", value="2"))
    await local.set_workdir("other")
    run.session.see(SetWorkdir(path="other"))
    assert await run("echo $A; basename $PWD") == "2\nother\n"
    assert await run("echo $A; basename $PWD") == "2\nother\n"


async def test_what_the_sandbox_gives_is_not_kept(run: Terminal, local: LocalSandbox) -> None:
    """A secret stays out of files, and each command finds its own services."""
    local.with_secret("TOKEN", "very-secret")
    local.with_env("DATABASE_URL", "one")
    await run("export OWN=1")
    local.with_env("DATABASE_URL", "two")
    assert await run("echo $OWN $DATABASE_URL $TOKEN") == "1 two very-secret\n"
    assert await run("grep -c very-secret ~/.revalid-session", 1) == "0\n"


async def test_a_sandbox_without_bash(local: LocalSandbox) -> None:
    await check_bash(local)
    local.with_env("PATH", "/nowhere")
    with pytest.raises(ToolMissing, match="the sandbox has no bash, which a session needs"):
        await check_bash(local)
