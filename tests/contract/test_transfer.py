"""Contract: whole directories between the sandbox and the host."""

import stat
from pathlib import Path

import pytest

from revalid.jobs.settings import load_settings
from revalid.jobs.steps import ExportDirectory
from revalid.worker.file_trees import walk
from revalid.worker.run.file_steps import apply_step
from revalid.worker.sandboxes.protocol import Sandbox, StepFailed
from tests.contract.checks import names, output

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVERY_BYTE = bytes(range(256))


async def test_export(sandbox: Sandbox, host: Path) -> None:
    await sandbox.write_files({"out/binary": EVERY_BYTE, "out/a/b/deep": "x", "other": "y"})
    await sandbox.write_file("out/run", "#!/bin/sh\n", mode=0o755)
    await output(sandbox, "cd out && ln -s a/b/deep link && ln -s /none dangling && mkdir empty")
    await sandbox.export_directory("out", host / "kept" / "here")
    out = host / "kept" / "here"
    assert sorted(path.name for path in out.iterdir()) == [
        "a",
        "binary",
        "dangling",
        "empty",
        "link",
        "run",
    ]
    assert (out / "binary").read_bytes() == EVERY_BYTE
    assert (out / "a" / "b" / "deep").read_text() == "x"
    assert (out / "run").stat().st_mode & 0o777 == 0o755
    assert (out / "binary").stat().st_mode & 0o777 == 0o644
    assert (out / "link").readlink() == Path("a/b/deep")
    assert (out / "dangling").readlink() == Path("/none")


async def test_export_leaves_the_sandbox_as_it_is(sandbox: Sandbox, host: Path) -> None:
    await sandbox.write_file("out/file", "x")
    await sandbox.export_directory(".", host / "first")
    (host / "first" / "out" / "file").write_text("changed on the host")
    assert await sandbox.read_file("out/file") == b"x"


async def test_an_export_follows_no_link_of_an_earlier_try(
    sandbox: Sandbox, host: Path, tmp_path: Path
) -> None:
    """The first try's directory held a link to the host; the second's has a directory there."""
    settings, artifact = load_settings({}, env_file=None), tmp_path / "kept" / "0"
    step = ExportDirectory(path="out")
    await output(sandbox, f"mkdir out && ln -s {host} out/way && echo old > out/old")
    await apply_step(step, sandbox, settings, artifact)
    assert (artifact / "way").is_symlink()
    await output(sandbox, "rm -r out && mkdir -p out/way && echo new > out/way/file")
    await apply_step(step, sandbox, settings, artifact)
    assert files_below(host) == []
    assert (artifact / "way" / "file").read_text() == "new\n"
    assert files_below(artifact.parent) == ["0/way/file"]


async def test_exported_artifact_has_no_set_user_id_and_no_pipe(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    settings, artifact = load_settings({}, env_file=None), tmp_path / "kept" / "0"
    await output(sandbox, "mkdir -p out/in; echo 1 >out/in/run; chmod 6755 out/in/run out/in")
    await output(sandbox, "mkfifo out/in/pipe; mkdir -m 1777 out/all")
    step = ExportDirectory(path="out")
    await apply_step(step, sandbox, settings, artifact)
    assert files_below(artifact) == ["in/run"]
    modes = {path: stat.S_IMODE(status.st_mode) for path, status in walk(artifact)}
    assert all(mode == mode & 0o777 for mode in modes.values()), modes
    assert modes["in/run"] == 0o755


def files_below(directory: Path) -> list[str]:
    return [str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize("path", ["none", "afile"])
async def test_export_of_a_missing_directory(sandbox: Sandbox, host: Path, path: str) -> None:
    await sandbox.write_file("afile", "x")
    with pytest.raises(StepFailed, match=f"export_directory .*{path}"):
        await sandbox.export_directory(path, host / "out")


@pytest.fixture
def project(host: Path) -> Path:
    """Return a directory of the host with files of every kind."""
    (host / "src" / "deep").mkdir(parents=True)
    (host / "src" / "main.py").write_text("main")
    (host / "src" / "deep" / "binary").write_bytes(EVERY_BYTE)
    (host / "README ☃").write_text("read me")
    (host / "run").write_text("#!/bin/sh\necho ran\n")
    (host / "run").chmod(0o755)
    (host / "link").symlink_to("src/main.py")
    return host


async def test_refresh_copies_everything(sandbox: Sandbox, project: Path) -> None:
    await sandbox.refresh_from_host(project)
    assert await names(sandbox) == ["README ☃", "link", "run", "src"]
    assert await sandbox.read_file("src/deep/binary") == EVERY_BYTE
    assert await output(sandbox, "./run; readlink link; cat link") == "ran\nsrc/main.py\nmain"


async def test_refresh_overwrites_and_keeps_the_rest(sandbox: Sandbox, project: Path) -> None:
    await sandbox.write_files({"src/main.py": "old", "src/mine": "kept", "node_modules/x": "kept"})
    await sandbox.refresh_from_host(project)
    assert await sandbox.read_file("src/main.py") == b"main"
    assert await output(sandbox, "cat src/mine node_modules/x") == "keptkept"

    (project / "src" / "main.py").write_text("next")
    (project / "run").unlink()
    await sandbox.refresh_from_host(project)
    assert await sandbox.read_file("src/main.py") == b"next"
    assert await output(sandbox, "./run") == "ran\n"


async def test_refresh_below_a_path(sandbox: Sandbox, project: Path) -> None:
    await sandbox.set_workdir("app")
    await sandbox.refresh_from_host(project, "server/code")
    assert await sandbox.read_file("/workspace/app/server/code/src/main.py") == b"main"
    assert await names(sandbox) == ["server"]


async def test_refresh_of_named_files_only(sandbox: Sandbox, project: Path) -> None:
    await sandbox.write_files({"src/main.py": "old", "src/mine": "kept"})
    await sandbox.refresh_from_host(project, only=("src/main.py", "README ☃", "link"))
    assert await names(sandbox) == ["README ☃", "link", "src"]
    assert await names(sandbox, "src") == ["main.py", "mine"]
    assert await output(sandbox, "cat src/main.py src/mine link") == "mainkeptmain"


async def test_refresh_of_no_files_copies_none(sandbox: Sandbox, project: Path) -> None:
    await sandbox.refresh_from_host(project, only=())
    assert await names(sandbox) == []


@pytest.mark.parametrize("name", ["none", "run"])
async def test_refresh_from_a_missing_directory(sandbox: Sandbox, project: Path, name: str) -> None:
    with pytest.raises(StepFailed, match="refresh_from_host"):
        await sandbox.refresh_from_host(project / name)


async def test_refresh_copies_links_as_links(
    sandbox: Sandbox, project: Path, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    canary.write_text("host only")
    (project / "leak").symlink_to(canary)
    (project / "dirleak").symlink_to(tmp_path)
    await sandbox.refresh_from_host(project)
    assert await output(sandbox, "readlink leak; readlink dirleak") == f"{canary}\n{tmp_path}\n"
    for path in ("leak", "dirleak/canary"):
        with pytest.raises(StepFailed):
            await sandbox.read_file(path)
    with pytest.raises(StepFailed):
        await sandbox.refresh_from_host(project, "elsewhere", only=("../canary",))


async def test_export_of_matching_files(sandbox: Sandbox, host: Path) -> None:
    await sandbox.exec("mkdir -p dist/js a/b && echo 1 >dist/js/x && echo 2 >a/b/y && echo 3 >z")
    await sandbox.exec("ln -s /etc/passwd dist/link")
    await sandbox.export_matching(("dist", "**/y"), host / "out", most_bytes=2**20)
    exported_files = [
        path for path in (host / "out").rglob("*") if path.is_file() and not path.is_symlink()
    ]
    assert {path.relative_to(host / "out").as_posix() for path in exported_files} == {
        "dist/js/x",
        "a/b/y",
    }
