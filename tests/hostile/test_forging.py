"""Commands that try to forge the verdict of later commands: none succeeds."""

import pytest

from revalid.jobs.result import JobResult, Verdict
from tests.hostile.conftest import Site

pytestmark = pytest.mark.parametrize(
    "site", [pytest.param("dagger", marks=pytest.mark.dagger)], indirect=True
)
"""Only in a container: as root without one, these commands would change the machine."""

TOOLS = "sh head base64 cat busybox tail tr dd stat find sleep mkdir mkfifo wc rm"
REPLACE = f"""
fake() {{
  rm -f "$1"
  printf '#!/usr/local/bin/node\\nconsole.log("made up")\\n' >"$1"
  chmod 755 "$1"
}}
for tool in {TOOLS}; do
  for directory in /bin /usr/bin /sbin ~/.local/bin ~/.npm-global/bin /workspace; do
    mkdir -p $directory; fake $directory/$tool
  done
done
rm -rf /.revalid /.revalid-tools; ln -s /workspace /.revalid-tools
exit 0
"""
REPLACE_SHELL = """
cat >/tmp/shell <<'END'
#!/bin/busybox sh
[ "$2" != "echo true; exit 1" ] || set -- -c "echo made up"
exec /bin/busybox sh "$@"
END
chmod 755 /tmp/shell; rm -f /bin/sh; cp /tmp/shell /bin/sh
for place in ~/.local/bin ~/.npm-global/bin; do mkdir -p $place; cp /tmp/shell $place/sh; done
exit 0
"""
WRITES = """
forge() {
  for place in /.revalid /proc/1/root/.revalid /proc/[0-9]*/cwd/.revalid; do
    for file in status report go stdout out.0; do echo 0 >$place/$file; done
  done
  for fd in /proc/1/fd/* /proc/[0-9]*/fd/7; do echo 0 >$fd; done
}
(while :; do forge; done) 2>/dev/null &
sleep 1
"""
SIGNALS = """
for pid in /proc/[0-9]*; do
  pid=${pid#/proc/}
  [ "$pid" = $$ ] || kill -STOP "$pid"; [ "$pid" = $$ ] || kill -9 "$pid"
  dd if=/dev/zero of=/proc/$pid/mem bs=1k count=1 seek=4096
done 2>/dev/null
"""
VARIABLES = {
    "PATH": "/workspace:/usr/local/bin:/usr/bin:/bin",
    "ENV": "/workspace/file",
    "BASH_ENV": "/workspace/file",
    "code": "0",
    "over": "",
    "IFS": "0",
    "REVALID_NONCE": "x",
}


def failed_with(result: JobResult, printed: str) -> bool:
    last = result.steps[-1]
    return (result.verdict, last.exit_code, last.stdout) == (Verdict.FAILED, 1, printed)


@pytest.mark.parametrize("install", [REPLACE, REPLACE_SHELL], ids=["tools", "shell"])
def test_install_that_replaces(site: Site, install: str) -> None:
    result = site.run(install, "echo true; exit 1", env=VARIABLES)
    assert failed_with(result, "true\n"), result


def test_install_of_root_that_replaces_all_but_the_shell(site: Site) -> None:
    replace = REPLACE.replace("in sh head", "in head").replace("busybox ", "")
    result = site.run(replace, "echo true; exit 1", user="root")
    assert failed_with(result, "true\n"), result


@pytest.mark.parametrize("attack", [WRITES, SIGNALS], ids=["writes", "signals"])
def test_process_beside_the_command(site: Site, attack: str) -> None:
    result = site.run(f"{attack}\necho true; exit 1")
    assert failed_with(result, "true\n"), result


def test_file_step_through_a_link_of_the_install(site: Site) -> None:
    result = site.replay(
        {"op": "exec", "command": "ln -s /bin here"},
        {"op": "write_files", "files": {"here/sh": "#!/usr/local/bin/node\n"}},
        {"op": "exec", "command": "echo true; exit 1"},
    )
    assert result.steps[1].exit_code == 1
    assert failed_with(result, "true\n"), result
