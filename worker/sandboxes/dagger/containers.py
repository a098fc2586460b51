"""How a container is made ready: what revalid itself runs in it, and whose the commands are.

What revalid runs comes from an image of its own, a static busybox, mounted read-only: a project may
have changed every file of its container.
"""

from dataclasses import dataclass
from importlib.resources import files

import dagger

from revalid.worker.sandboxes.dagger.exec_wrapper import TOOLS
from revalid.worker.sandboxes.protocol import WORKDIR

_BROUGHT = "/.revalid-brought"
NO_SHELL = 3
"""Exit status of preparing an image that has no shell."""
WRITE = f"""
set -o pipefail
tar cf - -C {_BROUGHT} . | as_owner sh -c 'mkdir -p "$1" && exec tar xof - -C "$1"' sh "$1"
"""
DELETE = 'as_owner unlink "$1"'
MAKE_DIRECTORY = 'as_owner mkdir -p "$1"'
APPLETS = (
    *("base64", "cat", "chown", "chpst", "dd", "env", "find", "grep", "head", "mkdir", "mkfifo"),
    *("mv", "rm", "setpriv", "sh", "sleep", "stat", "tail", "tar", "tr", "unlink", "wc"),
)
_COLLECT = """
cd /bin && mkdir /tools && cp busybox /tools && cd /tools || exit 1
for name; do
  ./busybox --list | ./busybox grep -qx "$name" || { echo "it has no $name" >&2; exit 1; }
  ln -s busybox "$name"
done
chroot . /busybox true || { echo "it is not static" >&2; exit 1; }
chmod 511 busybox # a process of a program that its user cannot read, that user cannot trace
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
chown -R "$owner" {WORKDIR} "$home"
"""
_AS_OWNER = f"""
PATH={TOOLS}
as_owner() {{ if [ "$0" = 0 ]; then "$@"; else chpst -u "$0" "$@"; fi; }}
"""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Account:
    """Whose the commands and the files of a sandbox are.

    Attributes:
        owner: ``uid:gid``, or ``0`` for root.
    """

    owner: str
    home: str

    @property
    def downloads(self) -> tuple[str, ...]:
        """Where package managers keep what they downloaded, and nothing else."""
        names = (".npm", ".bun/install/cache", ".cache/pip", ".cache/uv")
        return tuple(f"{self.home}/{name}" for name in names)


ORDINARY = Account("1000:1000", "/home/revalid")
ROOT = Account("0", "/root")


def tools(image: dagger.Container) -> dagger.Directory:
    """What :data:`TOOLS` holds: a static busybox, by its applets' names, and the wrapper."""
    script = files("revalid.worker.sandboxes.dagger").joinpath("exec.sh").read_text()
    collect = ["/bin/busybox", "sh", "-c", _COLLECT, "revalid", *APPLETS]
    made = image.with_user("0").with_exec(collect, no_init=True).directory("/tools")
    return made.with_new_file("exec.sh", script, permissions=0o444)


def prepared(
    image: dagger.Container, path: str | None, tools: dagger.Directory, account: Account
) -> dagger.Container:
    """A container with an empty workdir and a home for ``account``; nothing of a project ran in it.

    It runs as root: an exec drops to the account where a command is a project's.

    Args:
        path: The image's ``PATH``.
    """
    made = image.with_user("0").with_workdir("/")
    made = made.with_mounted_directory(TOOLS, tools, read_only=True)
    prepare = [f"{TOOLS}/sh", "-c", _PREPARE, "revalid", account.owner, account.home]
    made = made.with_exec([*prepare, *account.downloads], no_init=True).with_workdir(WORKDIR)
    made = made.with_env_variable("CI", "true").with_env_variable("HOME", account.home)
    if account is ORDINARY:
        prefix = f"{account.home}/.npm-global"
        path = ":".join([f"{prefix}/bin", f"{account.home}/.local/bin", path or _PATH])
        made = made.with_env_variable("npm_config_prefix", prefix)
        made = made.with_env_variable("PATH", path)
    return made


def changed(
    container: dagger.Container,
    account: Account,
    change: str,
    path: str,
    brought: dagger.Directory | None = None,
) -> dagger.Container:
    """The container, its workdir ``/``, after a change of its files that the account may make.

    The engine's own operations are root's, and follow the links that a project made.

    Args:
        change: :data:`WRITE`, :data:`DELETE` or :data:`MAKE_DIRECTORY`.
        brought: What to write below ``path``.
    """
    if brought is not None:
        container = container.with_mounted_directory(_BROUGHT, brought, read_only=True)
    script = [f"{TOOLS}/sh", "-c", _AS_OWNER + change, account.owner, path]
    # The engine makes a workdir that a command removed, and makes it root's.
    container = container.with_workdir("/").with_exec(script, no_init=True)
    return container if brought is None else container.without_mount(_BROUGHT)
