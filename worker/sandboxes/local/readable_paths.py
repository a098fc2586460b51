"""What of this machine commands in bubblewrap may read: its system, and the tools on ``PATH``."""

import functools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/nix", "/gnu")
_MACHINE = ("/sys/devices/system", "/sys/fs/cgroup")
"""Its processors, and what the worker may use of them: runtimes read how many there are."""
_REPLACED = tuple(map(Path, ("/tmp", "/dev", "/proc")))  # noqa: S108
_TOOLS = ("bin", "sbin", "shims", ".bin")
_PARTS = ("lib", "lib64", "libexec", "share", "versions", "tools", "installs")
"""Beside a directory of tools: it is one of an installation, which they need."""
_MOST_LINKS = 40


@functools.lru_cache(maxsize=32)
def mounts(path: str, passed: tuple[str, ...]) -> tuple[tuple[str, str, str], ...]:
    """Options for bubblewrap, each with its two arguments.

    Args:
        path: The ``PATH`` whose tools are seen.
        passed: Values of the worker's variables that commands get: what they name is seen.
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


def covers(hidden: Iterable[Path], shown: Iterable[str]) -> list[Path]:
    """What of ``hidden`` would be seen, with all links resolved, and nothing below another.

    Args:
        shown: The places that are seen.
    """
    places = [Path(place) for place in shown]
    real = {
        path
        for path in {path.resolve() for path in hidden if path.exists()}
        if not any(path.is_relative_to(replaced) for replaced in _REPLACED)
        and not Path("/usr").is_relative_to(path)
        and any(path.is_relative_to(seen) or seen.is_relative_to(path) for seen in places)
    }
    return sorted(path for path in real if real.isdisjoint(path.parents))


@functools.cache
def private_system_files() -> tuple[Path, ...]:
    """Files of ``/etc`` that the worker may read and not everybody may."""
    found = []
    waiting = [Path("/etc")]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    continue
                directory = entry.is_dir(follow_symlinks=False)
                wanted = 0o005 if directory else 0o004
                if entry.stat(follow_symlinks=False).st_mode & wanted == wanted:
                    waiting += [Path(entry.path)] * directory
                elif os.access(entry.path, os.R_OK):
                    found.append(Path(entry.path))
    return tuple(found)


class _View:
    """Places that are seen, each by its real name, and links that lead to them."""

    def __init__(self) -> None:
        self.places: list[Path] = []
        self._seen: set[Path] = set()
        self._scanned: set[str] = set()
        self._links: dict[Path, Path] = {}
        self._home = Path.home()

    def add(self, path: Path) -> None:
        """Show what is at ``path``, where that is not all of a home."""
        real = Path(os.path.realpath(path))
        if not real.exists() or self._is_wide(real):
            return
        if path != real:
            self._links[path] = real
        if not self._sees(real) and not any(real.is_relative_to(each) for each in _REPLACED):
            self.places.append(real)
            self._seen.add(real)

    def add_tools(self, directory: Path) -> None:
        """Show a directory of tools, the installations of its tools, and of theirs."""
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
                waiting += [place for place in map(Path, above) if not self._sees(place)]

    def links(self) -> Iterator[tuple[str, str, str]]:
        """Links that are in no place that is seen, and below no other link."""
        for path, real in self._links.items():
            if not self._sees(path) and self._links.keys().isdisjoint(path.parents):
                yield "--symlink", str(real), str(path)

    def _sees(self, path: Path) -> bool:
        return not self._seen.isdisjoint((path, *path.parents))

    def _is_wide(self, path: Path) -> bool:
        return self._home.is_relative_to(path)

    def _installation(self, tools: Path) -> tuple[Path, ...]:
        above = tools.parent
        if above == self._home / ".local":  # of many, and of much else
            return tools, above / "lib"
        if tools.name not in _TOOLS or self._is_wide(above):
            return (tools,)
        whole = tools.name == ".bin" or any((above / part).is_dir() for part in _PARTS)
        return (above,) if whole else (tools,)


def _targets(directory: str) -> Iterator[str]:
    """Where the links in a directory lead, with every link between."""
    try:
        with os.scandir(directory) as entries:
            links = [entry.name for entry in entries if entry.is_symlink()]
    except OSError:
        return
    above = os.path.realpath(directory)
    for name in links:
        path = f"{above}/{name}"
        for _ in range(_MOST_LINKS):
            try:
                led = os.readlink(path)  # noqa: PTH115 - of hundreds
            except OSError:  # no link
                break
            place = path.rpartition("/")[0]
            place = above if place == above else os.path.realpath(place)
            path = os.path.normpath(led if led.startswith("/") else f"{place}/{led}")
            yield path
