"""Projects that break their own sandbox: they fail, and the worker is not blamed."""

import pytest

from revalid.jobs.result import Verdict
from tests.hostile.conftest import Site

BREAKS = {
    "removed workdir": 'rm -rf "$PWD"',
    "closed workdir": 'chmod 000 "$PWD"',
    "workdir that leads out": "cd .. && mv workspace old && ln -s /etc workspace",
    "workdir that leads nowhere": "cd .. && mv workspace old && ln -s workspace workspace",
    "workdir that is a file": "cd .. && mv workspace old && : >workspace",
    "deep directories": "d=$(printf 'd/%.0s' $(seq 600)); "
    'for n in 1 2 3 4 5; do mkdir -p "$d"; cd -P "$d"; done',
    "circle of links": "ln -s a b; ln -s b a; ln -s . here",
}
BREAKS_LOCAL = {
    "removed sandbox": 'rm -rf "$HOME/.."',
    "closed sandbox": 'chmod 000 "$HOME" "$PWD/.." "$HOME/.."',
    "replaced root": 'cd "$HOME/.." && mv root old && ln -s / root',
    "replaced home": 'cd "$HOME/.." && mv home old && ln -s / home',
    "files for directories": 'cd "$HOME/.." && rm -rf * && touch home root tmp shm slash-tmp',
    "removed scratch": 'rm -rf "$HOME/../../"*',
}


@pytest.mark.parametrize("kind", [*BREAKS, *BREAKS_LOCAL])
def test_project_that_breaks_its_sandbox_fails(site: Site, kind: str) -> None:
    if site.kind == "dagger" and kind in BREAKS_LOCAL:
        pytest.skip("a container has no such directory")
    broken = (BREAKS | BREAKS_LOCAL)[kind]
    # The versions of node and npm are read after the steps.
    result = site.run(
        f"({broken}) 2>/dev/null; true",
        "node --version; npm --version; exit 1",
        artifacts=["**"],
        limits={"command_timeout_s": 60},
    )
    assert (result.verdict, result.attempts) == (Verdict.FAILED, 1), result


def test_file_that_is_too_large_to_read_fails(site: Site) -> None:
    result = site.replay(
        {
            "op": "exec",
            "command": "truncate -s 1G large || dd if=/dev/zero of=large bs=1M count=65",
        },
        {"op": "read_file", "path": "large"},
    )
    assert result.verdict is Verdict.FAILED
    assert "larger than" in result.steps[1].stderr
