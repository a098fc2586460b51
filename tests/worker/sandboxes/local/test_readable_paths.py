"""The paths that commands may read, with real layouts of tools in a home."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from revalid.worker.sandboxes.local import readable_paths
from tests.jobs.samples import unprivileged


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a home with a private file; paths below ``/tmp`` are visible here."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(readable_paths, "_REPLACED", ())
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "private").touch()
    readable_paths.mounts.cache_clear()
    yield tmp_path / "home"
    readable_paths.mounts.cache_clear()


def visible(*path: Path, passed: tuple[str, ...] = ()) -> set[str]:
    """Return the visible paths besides the system's."""
    mounts = readable_paths.mounts(os.pathsep.join(map(str, path)), passed)
    return {place for _, _, place in mounts} - {
        place for _, _, place in readable_paths.mounts("", ())
    }


def tool(path: Path, target: Path | None = None) -> None:
    """Create a program, or a link to one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if target is None:
        path.touch(mode=0o755)
    else:
        path.symlink_to(target)


def test_whole_installation_is_visible(home: Path) -> None:
    for name in ("pyenv/shims", "nvm/versions/node/v20/bin", "venv/bin"):
        tool(home / name / "tool")
        (home / name).parent.joinpath("lib").mkdir()
    assert visible(
        *(home / n for n in ("pyenv/shims", "nvm/versions/node/v20/bin", "venv/bin"))
    ) == {str(home / name) for name in ("pyenv", "nvm/versions/node/v20", "venv")}


def test_directory_of_tools_without_an_installation_is_visible_alone(home: Path) -> None:
    tool(home / ".cargo" / "bin" / "cargo")
    (home / ".cargo" / "credentials.toml").touch()
    assert visible(home / ".cargo" / "bin") == {str(home / ".cargo" / "bin")}


def test_no_whole_home_is_visible(home: Path) -> None:
    tool(home / "bin" / "tool")
    (home / "lib").mkdir()
    assert visible(home / "bin", home, home.parent, passed=(str(home), "/")) == {str(home / "bin")}


def test_links_are_followed_to_every_installation_on_the_way(home: Path) -> None:
    python, venv = home / "python" / "bin" / "python3", home / "uv" / "tool" / "bin"
    tool(python)
    (home / "python" / "lib").mkdir()
    tool(venv / "tool")
    tool(venv / "python", python)
    (venv.parent / "lib").mkdir()
    tool(home / ".local" / "bin" / "tool", venv / "tool")
    (home / ".local" / "share").mkdir()
    assert visible(home / ".local" / "bin") == {
        str(path) for path in (home / ".local" / "bin", venv.parent, python.parent.parent)
    }


def test_linked_directory_is_visible_by_its_real_name(home: Path) -> None:
    tool(home / "real" / "bin" / "tool")
    (home / "current").symlink_to(home / "real")
    options = readable_paths.mounts(str(home / "current" / "bin"), ())
    assert ("--ro-bind", str(home / "real" / "bin"), str(home / "real" / "bin")) in options
    assert ("--symlink", str(home / "real" / "bin"), str(home / "current" / "bin")) in options


def test_path_in_a_variable_is_visible(home: Path) -> None:
    (home / "ca.pem").touch()
    assert visible(passed=(str(home / "ca.pem"), "http://proxy", "")) == {str(home / "ca.pem")}


def test_only_visible_paths_are_covered(home: Path) -> None:
    (home / "a" / "b").mkdir(parents=True)
    hidden = (
        home / "a" / "b",
        home / "a",
        home / "missing",
        Path("/"),
        Path("/usr"),
        Path("/boot"),
    )
    assert readable_paths.covers(hidden, [str(home)]) == [home / "a"]
    (home / "link").symlink_to(home / "a")
    assert readable_paths.covers([home / "link"], [str(home / "a" / "b")]) == [home / "a"]


def test_a_private_file_that_came_later_is_found(tmp_path: Path) -> None:
    (tmp_path / "public").touch(mode=0o644)
    assert readable_paths.private_system_files(tmp_path) == ()
    (tmp_path / "shadow").touch(mode=0o600)
    assert readable_paths.private_system_files(tmp_path) == (tmp_path / "shadow",)


def test_what_the_worker_may_not_read_is_not_there() -> None:
    with unprivileged() as root:
        for place in ("tools/bin", "tools/lib", "data"):
            (root / "closed" / place).mkdir(parents=True)
        (root / "closed").chmod(0)
        try:
            shown = visible(root / "closed/tools/bin", passed=(str(root / "closed/data"),))
            covered = readable_paths.covers([root / "closed/data"], [str(root)])
        finally:
            (root / "closed").chmod(0o700)
    assert (shown, covered) == (set(), [])
