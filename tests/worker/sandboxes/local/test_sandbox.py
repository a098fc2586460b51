"""Files and environment of the local sandbox, beyond the contract."""

import os
import stat
from pathlib import Path

import pytest

from revalid.jobs.errors import SandboxLost
from revalid.worker.sandboxes.local import process, sandbox
from revalid.worker.sandboxes.local.sandbox import LocalSandbox
from revalid.worker.sandboxes.protocol import StepFailed
from tests.contract.checks import names, output


async def test_environment_is_clean(
    local: LocalSandbox, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_ONLY_TOKEN", "s3cret")
    variables = dict(line.split("=", 1) for line in (await output(local, "env")).splitlines())
    for set_by_the_shell in ("PWD", "OLDPWD", "SHLVL", "_"):
        variables.pop(set_by_the_shell, None)
    path = variables.pop("PATH").split(os.pathsep)
    assert path[:2] == [f"{directory}/home/.npm-global/bin", f"{directory}/home/.local/bin"]
    assert path[2:] == os.environ["PATH"].split(os.pathsep)
    assert variables == {
        "CI": "true",
        "HOME": f"{directory}/home",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PASSED": "on",
        "_SANDBOX_OF_REVALID": str(directory),
        "TMPDIR": f"{directory}/tmp",
        "npm_config_prefix": f"{directory}/home/.npm-global",
    }


async def test_directories_are_private(local: LocalSandbox, directory: Path) -> None:
    await output(local, 'echo x > "$HOME/file"; echo y > "$(mktemp)"')
    assert (directory / "home" / "file").read_text() == "x\n"
    assert len(list((directory / "tmp").iterdir())) == 1
    assert await names(local) == []
    for private in (directory, directory / "home", directory / "tmp"):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700


async def test_modes_do_not_depend_on_the_workers_umask(local: LocalSandbox) -> None:
    before = os.umask(0o077)
    try:
        await local.write_file("written", "x", mode=0o664)
        await local.exec(": > made")
    finally:
        os.umask(before)
    assert await output(local, "stat -c %a written made") == "664\n644\n"


async def test_close_removes_everything(local: LocalSandbox, tmp_path: Path) -> None:
    await output(
        local,
        "mkdir -p shut/in && : > shut/in/file && chmod 000 shut/in shut; "
        "mkdir fixed && : > fixed/file && chmod 500 fixed; mkfifo pipe; ln -s / root",
    )
    await local.close()
    assert list((tmp_path / "scratch").iterdir()) == []


async def test_closed_sandbox_refuses(local: LocalSandbox) -> None:
    await local.close()
    with pytest.raises(SandboxLost, match=r"exec: .*closed"):
        await local.exec("true")
    with pytest.raises(SandboxLost, match=r"fork: .*closed"):
        await local.fork()


async def test_failed_fork_leaves_nothing(
    local: LocalSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clone(*_: object) -> None:
        raise SandboxLost("no space")

    monkeypatch.setattr(sandbox, "clone", clone)
    with pytest.raises(SandboxLost, match="no space"):
        await local.fork()
    assert len(list((tmp_path / "scratch").iterdir())) == 1


async def test_fork_without_copies_by_reference(
    local: LocalSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("revalid.worker.sandboxes.local.files._copies_by_reference", lambda: False)
    await output(local, "mkdir bin; echo x > tool; chmod 755 tool; ln -s ../tool bin/tool")
    child = await local.fork()
    try:
        assert await output(child, "readlink bin/tool; stat -c %a tool") == "../tool\n755\n"
    finally:
        await child.close()


async def test_links_do_not_lead_around_protection(local: LocalSandbox) -> None:
    await output(local, "mkdir vault; echo original > vault/file; ln -s vault by; ln -s by/file f")
    for path in ("by/file", "f", "by/new"):
        with pytest.raises(StepFailed, match="protected"):
            await local.write_file(path, "changed")
        with pytest.raises(StepFailed, match="protected"):
            await local.write_files({"other": "x", path: "changed"})
    with pytest.raises(StepFailed, match="protected"):
        await local.delete_file("by/file")
    assert await output(local, "cat vault/*") == "original\n"
    assert await names(local) == ["by", "f", "vault"]


async def test_protected_name_that_is_a_link_stays_protected(local: LocalSandbox) -> None:
    await output(local, "mkdir free; echo original > free/file; ln -s free vault")
    for refused in (
        local.write_file("vault/file", "changed"),
        local.write_files({"vault/file": "changed"}),
        local.delete_file("vault/file"),
    ):
        with pytest.raises(StepFailed, match="protected"):
            await refused
    assert await local.read_file("free/file") == b"original\n"


async def test_write_does_not_change_other_names_of_a_file(
    local: LocalSandbox, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.write_text("of the host")
    local.with_env("SHARED", str(shared))
    await output(local, 'ln "$SHARED" hard')
    await local.write_file("hard", "changed")
    assert (await local.read_file("hard"), shared.read_text()) == (b"changed", "of the host")


async def test_special_files_do_not_block(local: LocalSandbox, tmp_path: Path) -> None:
    await output(local, "mkfifo pipe; : > file")
    with pytest.raises(StepFailed, match=r"read_file .*pipe.*regular"):
        await local.read_file("pipe")
    await local.export_directory(".", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]
    await local.write_file("pipe", "x")
    assert await local.read_file("pipe") == b"x"


async def test_second_export_does_not_write_through_a_link_of_the_first(
    local: LocalSandbox, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("original")
    local.with_env("VICTIM", str(victim))
    await output(local, 'ln -s "$VICTIM/file" link; ln -s "$VICTIM" dir')
    await local.export_directory(".", tmp_path / "out")
    await output(local, "rm link dir; mkdir dir; echo changed | tee link dir/file dir/new")
    with pytest.raises(StepFailed, match="leads outside"):
        await local.export_directory(".", tmp_path / "out")
    assert [path.name for path in victim.iterdir()] == ["file"]
    assert (victim / "file").read_text() == "original"


async def test_workdir_that_became_a_link_is_refused(local: LocalSandbox, tmp_path: Path) -> None:
    local.with_env("HOST", str(tmp_path))
    await output(local, 'rmdir "$PWD" && ln -s "$HOST" "$PWD"')
    with pytest.raises(StepFailed, match=r"exec .*leads outside"):
        await local.exec("true")


@pytest.mark.parametrize("scratch", ["missing", "file"])
async def test_unusable_scratch(tmp_path: Path, scratch: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SandboxLost, match=r"local sandbox: .*; make it writable"):
        LocalSandbox(passthrough={}, scratch=tmp_path / scratch)


async def test_missing_shell(
    local: LocalSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SHELL", str(tmp_path / "no-shell"))
    with pytest.raises(SandboxLost, match=r"no-shell; install one"):
        LocalSandbox(passthrough={}, scratch=tmp_path)
    with pytest.raises(SandboxLost, match=r"exec 'true': .*no-shell.*check"):
        await local.exec("true")
