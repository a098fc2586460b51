"""Prepares containers: the tools that revalid itself runs in them, and the user of the commands.

The tools come from an image of their own, a static busybox, and are mounted read-only: a project
may have changed every file of its container.
"""

from dataclasses import dataclass
from importlib.resources import files

import dagger

from revalid.worker.sandboxes.dagger.exec_wrapper import TOOLS
from revalid.worker.sandboxes.protocol import ENVIRONMENT, WORKDIR

_INCOMING = "/.revalid-incoming"
_DOWNLOADS = "/.revalid-downloads"
DOWNLOADS = {
    "npm_config_cache": f"{_DOWNLOADS}/npm",
    "BUN_INSTALL_CACHE_DIR": f"{_DOWNLOADS}/bun",
    "PIP_CACHE_DIR": f"{_DOWNLOADS}/pip",
    "UV_CACHE_DIR": f"{_DOWNLOADS}/uv",
    "COMPOSER_CACHE_DIR": f"{_DOWNLOADS}/composer",
}
"""Where package managers keep their downloads, by the variable that tells them."""
OWN_DOWNLOADS = {
    "REVALID_GO_DOWNLOADS": f"{_DOWNLOADS}/go",
    "REVALID_CARGO_DOWNLOADS": f"{_DOWNLOADS}/cargo",
    "REVALID_GEM_DOWNLOADS": f"{_DOWNLOADS}/gem",
    "REVALID_NUGET_DOWNLOADS": f"{_DOWNLOADS}/nuget",
}
"""Where our own installs keep them, by a variable that only a command with downloads has."""
MOUNT_POINTS = (*DOWNLOADS.values(), *OWN_DOWNLOADS.values())
"""The engine follows links to a mount point, so only root may replace one."""
NO_SHELL = 3
"""Exit status of preparing an image that has no shell."""
WRITE = f"""
set -o pipefail
tar cf - -C {_INCOMING} . | as_owner sh -c 'mkdir -p "$1" && exec tar xof - -C "$1"' sh "$1"
"""
DELETE = 'as_owner unlink "$1"'
MAKE_DIRECTORY = 'as_owner mkdir -p "$1"'
LAY = f"""
set -e
cd {_INCOMING}
# A directory of root with the sticky bit: its user may add files, but not move those of root.
find . -type d -exec sh -e -c '
  for name; do
    path={WORKDIR}/$name
    if [ -h "$path" ] || [ ! -d "$path" ]; then
      rm -rf "$path"
      mkdir "$path"
    fi
    [ "$0" = 0 ] || {{ chown 0:0 "$path"; chmod 1777 "$path"; }}
  done' "$0" {{}} +
find . -type f -exec sh -e -c '
  umask 222
  for name; do
    path={WORKDIR}/$name
    rm -rf "$path"
    cat "$name" >"$path"
    [ ! -x "$name" ] || chmod 555 "$path"
  done' sh {{}} +
"""
LIFT = f"""
cd {_INCOMING} || exit 1
find . -type f -exec sh -c '
  for name; do
    path={WORKDIR}/$name
    parent=${{path%/*}}
    while [ ! -h "$parent" ] && [ -d "$parent" ] && [ "$parent" != {WORKDIR}/. ]; do
      parent=${{parent%/*}}
    done
    [ "$parent" = {WORKDIR}/. ] && [ ! -h "$path" ] && [ -f "$path" ] || continue
    case $(stat -c %u:%a "$path") in 0:444 | 0:555) ;; *) continue ;; esac
    cmp -s "$name" "$path" && echo "${{name#./}}"
  done' sh {{}} +
[ "$0" = 0 ] || find . -type d -exec sh -c '
  for name; do
    path={WORKDIR}/$name
    [ -h "$path" ] || [ ! -d "$path" ] || {{ chown -h "$0" "$path"; chmod 755 "$path"; }}
  done' "$0" {{}} +
exit 0
"""
"""Prints the files that are unchanged, so that a tool that fails counts as a change."""
APPLETS = (
    *(
        "base64",
        "cat",
        "chmod",
        "chown",
        "chpst",
        "cmp",
        "dd",
        "env",
        "find",
        "grep",
        "head",
        "ip",
        "ls",
        "mkdir",
        "mkfifo",
    ),
    *("mv", "nc", "rm", "setpriv", "sh", "sleep", "sort", "stat", "tail", "tar", "tr"),
    *("unlink", "wc"),
)
_COLLECT = """
cd /bin && mkdir /tools && cp busybox /tools && cd /tools || exit 1
for name; do
  ./busybox --list | ./busybox grep -qx "$name" || { echo "it has no $name" >&2; exit 1; }
  ln -s busybox "$name"
done
chroot . /busybox true || { echo "it is not static" >&2; exit 1; }
chmod 511 busybox # a user cannot trace a process whose program that user cannot read
"""
_PREPARE = f"""
PATH={TOOLS} owner=$1 home=$2
shift
[ -x /bin/sh ] || exit {NO_SHELL}
mkdir -p -m 1777 /tmp && mkdir -p /etc {WORKDIR} "$@" || exit 1
[ "$owner" = 0 ] && exit
id=${{owner%:*}}
grep -q "^[^:]*:[^:]*:$id:" /etc/passwd || echo "revalid:x:$id:$id::$home:/bin/sh" >>/etc/passwd
grep -q "^[^:]*:[^:]*:$id:" /etc/group || echo "revalid:x:$id:" >>/etc/group
chown -R "$owner" {WORKDIR} "$@"
"""
_AS_OWNER = f"""
PATH={TOOLS}
as_owner() {{ if [ "$0" = 0 ]; then "$@"; else chpst -u "$0" "$@"; fi; }}
"""
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Account:
    """The user that runs a sandbox's commands and owns its files.

    Attributes:
        owner: ``uid:gid``, or ``0`` for root.
        home: The user's home directory in the container.
    """

    owner: str
    home: str


ORDINARY = Account("1000:1000", "/home/revalid")
ROOT = Account("0", "/root")


def tools_directory(image: dagger.Container) -> dagger.Directory:
    """Return the content of :data:`TOOLS`: a busybox under its applets' names, and the scripts."""
    collect = ["/bin/busybox", "sh", "-c", _COLLECT, "revalid", *APPLETS]
    directory = image.with_user("0").with_exec(collect, no_init=True).directory("/tools")
    for name in ("exec.sh", "probe.sh", "gate.sh"):
        script = files("revalid.worker.sandboxes.dagger").joinpath(name).read_text()
        directory = directory.with_new_file(name, script, permissions=0o444)
    return directory


def prepare_container(
    image: dagger.Container, path: str | None, tools: dagger.Directory, account: Account
) -> dagger.Container:
    """Return a container with an empty workdir and a home for ``account``; no project ran in it.

    The container runs as root. An exec of a project's command switches to the account.

    Args:
        path: The image's ``PATH``.
    """
    container = image.with_user("0").with_workdir("/")
    container = container.with_mounted_directory(TOOLS, tools, read_only=True)
    prepare = [f"{TOOLS}/sh", "-c", _PREPARE, "revalid", account.owner, account.home]
    container = container.with_exec([*prepare, *MOUNT_POINTS], no_init=True)
    for name, value in {**ENVIRONMENT, "HOME": account.home, **DOWNLOADS}.items():
        container = container.with_env_variable(name, value)
    if account is ORDINARY:
        prefix = f"{account.home}/.npm-global"
        path = ":".join([f"{prefix}/bin", f"{account.home}/.local/bin", path or _DEFAULT_PATH])
        container = container.with_env_variable("npm_config_prefix", prefix)
        container = container.with_env_variable("PATH", path)
    return container.with_workdir(WORKDIR)


def apply_change(
    container: dagger.Container,
    account: Account,
    change: str,
    path: str,
    incoming: dagger.Directory | None = None,
) -> dagger.Container:
    """Return the container after the account changed its files; the workdir is then ``/``.

    The engine's own operations are not used: they run as root and follow links that a project made.

    Args:
        change: :data:`WRITE`, :data:`DELETE`, :data:`MAKE_DIRECTORY`, :data:`LAY` or :data:`LIFT`.
        incoming: The files to write below ``path``, or those of an overlay.
    """
    if incoming is not None:
        container = container.with_mounted_directory(_INCOMING, incoming, read_only=True)
    script = [f"{TOOLS}/sh", "-c", _AS_OWNER + change, account.owner, path]
    # The engine would make a workdir that a command removed, and root would own it.
    container = container.with_workdir("/").with_exec(script, no_init=True)
    return container if incoming is None else container.without_mount(_INCOMING)
