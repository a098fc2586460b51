"""An overlay is laid over whatever a project left, and every change of it is found."""

from pathlib import Path

import pytest

from revalid.worker.sandboxes.protocol import Sandbox
from tests.contract.conftest import Opener

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRUSTED = {"tests/unit/a.test.ts": "trusted a\n", "vite.config.ts": "trusted config\n"}
CAT = "cat " + " ".join(sorted(TRUSTED))
CONTENT = "trusted a\ntrusted config\n"


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """Return a directory of trusted files."""
    root = tmp_path / "trusted"
    for name, content in TRUSTED.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "tests/run.sh").write_text("echo ran\n")
    (root / "tests/run.sh").chmod(0o755)
    return root


LEFT = {
    "nothing": "true",
    "other content": "mkdir -p tests/unit; echo own >tests/unit/a.test.ts; chmod 444 tests/unit/*",
    "a link in place of a file": "echo kept >out; mkdir -p tests/unit; "
    "ln -s ../../out tests/unit/a.test.ts; ln -s out vite.config.ts",
    "a link on the way": "echo kept >out; mkdir elsewhere; ln -s elsewhere tests",
    "a directory in place of a file": "mkdir -p vite.config.ts/full; echo x >vite.config.ts/full/x",
    "a file in place of a directory": "echo x >tests",
    "a pipe": "mkfifo vite.config.ts",
}


@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
async def test_it_replaces_what_a_command_left(sandbox: Sandbox, overlay: Path, left: str) -> None:
    await sandbox.exec(left)
    await sandbox.lay_overlay(overlay)
    shown = await sandbox.exec(f"{CAT}; tests/run.sh 2>/dev/null || sh tests/run.sh")
    assert shown.stdout.head.decode() == f"{CONTENT}ran\n", shown
    assert await sandbox.lift_overlay(overlay) == ()
    beside = await sandbox.exec("cat out 2>/dev/null; ls elsewhere 2>/dev/null; true")
    assert beside.stdout.head in (b"", b"kept\n")


CHANGES = {
    "written": "chmod u+w vite.config.ts; echo x >>vite.config.ts",
    "written and restored": "cp vite.config.ts /tmp/c$$ && chmod u+w vite.config.ts && "
    "echo x >vite.config.ts; cat /tmp/c$$ >vite.config.ts; chmod 444 vite.config.ts",
    "removed": "rm -f vite.config.ts",
    "replaced by equal content": "cp vite.config.ts c && mv -f c vite.config.ts",
    "replaced by a link": "cp vite.config.ts c && ln -sf c vite.config.ts",
    "replaced by a directory": "rm -f vite.config.ts && mkdir vite.config.ts",
    "moved away and back": "mv vite.config.ts c && mv c vite.config.ts",
    "its directory is a link": "mv tests moved && ln -s moved tests",
    "its directory is gone": "rm -rf tests",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_command_cannot_change_it_unseen(
    sandbox: Sandbox, overlay: Path, change: str
) -> None:
    await sandbox.lay_overlay(overlay)
    await sandbox.exec(change)
    shown = await sandbox.exec(CAT)
    changed = await sandbox.lift_overlay(overlay)
    if sandbox.kind == "dagger":  # its files are root's
        assert (changed, shown.stdout.head.decode()) == ((), CONTENT)
    else:
        assert set(changed) & {*TRUSTED}, shown


@pytest.mark.parametrize(
    "use",
    ["echo x >tests/unit/made; rm tests/unit/made", "mkdir -p tests/__pycache__; echo x >new"],
)
async def test_files_beside_it_may_change(sandbox: Sandbox, overlay: Path, use: str) -> None:
    await sandbox.exec("mkdir -p tests; echo own >tests/own; echo own >mine")
    await sandbox.lay_overlay(overlay)
    used = await sandbox.exec(f"{use} && rm tests/own && echo more >>mine")
    assert used.exit_code == 0, used
    assert await sandbox.lift_overlay(overlay) == ()


async def test_after_it_is_lifted_the_project_owns_its_directories(
    sandbox: Sandbox, overlay: Path
) -> None:
    await sandbox.lay_overlay(overlay)
    await sandbox.lift_overlay(overlay)
    removed = await sandbox.exec("rm -rf tests && mv vite.config.ts moved")
    assert removed.exit_code == 0, removed


async def test_the_directory_of_a_file_cannot_be_swapped_meanwhile(
    open_sandbox: Opener, kind: str, overlay: Path
) -> None:
    if kind != "dagger":
        pytest.skip("commands own the files: docs/security.md says so")
    sandbox = await open_sandbox()
    await sandbox.lay_overlay(overlay)
    swap = "mv tests away && mkdir -p tests/unit && echo own >tests/unit/a.test.ts"
    assert (await sandbox.exec(swap)).exit_code != 0
    assert (await sandbox.exec(CAT)).stdout.head.decode() == CONTENT


async def test_a_fork_has_its_own(sandbox: Sandbox, overlay: Path) -> None:
    fork = await sandbox.fork()
    try:
        await fork.lay_overlay(overlay)
        assert (await sandbox.exec(CAT)).exit_code != 0
        assert await fork.lift_overlay(overlay) == ()
    finally:
        await fork.close()
