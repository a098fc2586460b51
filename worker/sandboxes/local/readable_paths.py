"""Selects the paths that commands in bubblewrap may read: the system, and the tools on ``PATH``."""

import functools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/nix", "/gnu")
_MACHINE = ("/sys/devices/system", "/sys/fs/cgroup")
"""Files about processors and the worker's share of them; language runtimes read these."""
_REPLACED = tuple(map(Path, ("/tmp", "/dev", "/proc")))  # noqa: S108
_TOOLS = ("bin", "sbin", "shims", ".bin")
_PARTS = ("lib", "lib64", "libexec", "share", "versions", "tools", "installs")
"""Names beside a directory of tools that mark an installation, which the tools need."""
_MAX_LINKS = 40


@functools.lru_cache(maxsize=32)
def mounts(path: str, passed: tuple[str, ...]) -> tuple[tuple[str, str, str], ...]:
    """Return options for bubblewrap, each with its two arguments.

    Args:
        path: The ``PATH`` whose tools are visible.
        passed: Values of the worker's variables that commands get; paths in them are visible.
    """
    view = _View()
    for place in (*_SYSTEM, *_MACHINE, os.path.realpath("/etc/resolv.conf")):
        view.add(Path(place))
    for value in passed:
        if Path(value).is_absolute():
            view.add(Path(value))
    for part in path.split(os.pathsep):
        if Path(part).is_absolute():
            view.add_tools(Path(part))
    binds = [("--ro-bind", str(place), str(place)) for place in view.places]
    return (*binds, *view.links())


def covers(hidden: Iterable[Path], visible: Iterable[str]) -> list[Path]:
    """Return the paths of ``hidden`` that would be visible, and so must be covered.

    Links are resolved, and no returned path is below another.

    Args:
        visible: The paths that are visible.
    """
    places = [Path(place) for place in visible]
    real = {
        path
        for path in {path.resolve() for path in hidden if _is_there(path)}
        if not any(path.is_relative_to(replaced) for replaced in _REPLACED)
        and not Path("/usr").is_relative_to(path)
        and any(path.is_relative_to(shown) or shown.is_relative_to(path) for shown in places)
    }
    return sorted(path for path in real if real.isdisjoint(path.parents))


def private_system_files(system: Path = Path("/etc")) -> tuple[Path, ...]:
    """Return the files of ``/etc`` that the worker may read and other users may not, as of now."""
    private = []
    waiting = [system]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                present = list(entries)
        except OSError:  # gone meanwhile, or not the worker's to read either
            continue
        for entry in present:
            if entry.is_symlink():
                continue
            try:
                mode = entry.stat(follow_symlinks=False).st_mode
            except OSError:
                continue
            is_directory = entry.is_dir(follow_symlinks=False)
            readable_by_all = 0o005 if is_directory else 0o004
            if mode & readable_by_all == readable_by_all:
                waiting += [Path(entry.path)] * is_directory
            elif os.access(entry.path, os.R_OK):
                private.append(Path(entry.path))
    return tuple(private)


class _View:
    """The visible paths, each by its real name, and the links that lead to them."""

    def __init__(self) -> None:
        self.places: list[Path] = []
        self._visible: set[Path] = set()
        self._scanned: set[str] = set()
        self._links: dict[Path, Path] = {}
        self._home = Path.home()

    def add(self, path: Path) -> None:
        """Make ``path`` visible, unless it contains a whole home."""
        real = Path(os.path.realpath(path))
        if not _is_there(real) or self._is_wide(real):
            return
        if path != real:
            self._links[path] = real
        is_replaced = any(real.is_relative_to(replaced) for replaced in _REPLACED)
        if not is_replaced and not self._is_visible(real):
            self.places.append(real)
            self._visible.add(real)

    def add_tools(self, directory: Path) -> None:
        """Make a directory of tools visible, with every installation that its links lead to."""
        waiting = [directory]
        while waiting:
            tools = waiting.pop()
            real = os.path.realpath(tools)
            if not self._is_wide(tools):
                for place in self._installation(tools):
                    self.add(place)
            if real not in self._scanned:
                self._scanned.add(real)
                above = {target.rpartition("/")[0] for target in _targets(real)}
                waiting += [place for place in map(Path, above) if not self._is_visible(place)]

    def links(self) -> Iterator[tuple[str, str, str]]:
        """Yield options for the links that are in no visible path and below no other link."""
        for path, real in self._links.items():
            if not self._is_visible(path) and self._links.keys().isdisjoint(path.parents):
                yield "--symlink", str(real), str(path)

    def _is_visible(self, path: Path) -> bool:
        return not self._visible.isdisjoint((path, *path.parents))

    def _is_wide(self, path: Path) -> bool:
        return self._home.is_relative_to(path)

    def _installation(self, tools: Path) -> tuple[Path, ...]:
        above = tools.parent
        if above == self._home / ".local":  # shared by many tools, and by other data
            return tools, above / "lib"
        if tools.name not in _TOOLS or self._is_wide(above):
            return (tools,)
        is_installation = tools.name == ".bin" or any(_is_there(above / part) for part in _PARTS)
        return (above,) if is_installation else (tools,)


def _is_there(path: Path) -> bool:
    """Return whether the worker's user may know of a path: ``PATH`` may be that of another user."""
    return os.path.exists(path)  # noqa: PTH110 - pathlib raises where it may not look


def _targets(directory: str) -> Iterator[str]:
    """Yield the targets of the links in a directory, and of every link on the way."""
    try:
        with os.scandir(directory) as entries:
            links = [entry.name for entry in entries if entry.is_symlink()]
    except OSError:
        return
    above = os.path.realpath(directory)
    for name in links:
        path = f"{above}/{name}"
        for _ in range(_MAX_LINKS):
            try:
                link_target = os.readlink(path)  # noqa: PTH115 - hundreds of calls
            except OSError:  # not a link
                break
            place = path.rpartition("/")[0]
            place = above if place == above else os.path.realpath(place)
            path = os.path.normpath(os.path.join(place, link_target))  # noqa: PTH118
            yield path
