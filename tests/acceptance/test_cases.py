"""Small projects after public reports, each with its right verdict, as a directory and an archive.

They run one by one, for minutes: ``make slow``.
"""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "cases"
LINKS = {
    "node-abs-symlink": {"zoneinfo": "/usr/share/zoneinfo"},
    "node-inner-links": {"app/shared": "../shared", "dangling": "nowhere"},
    "node-symlinked-manifests": {"package.json": "config/package.json"},
}
"""Links of a case: an archive of the repository may not keep them."""
CHECKOUTS = {
    "node-git-hash": "commit",
    "node-prepare-hooks": "init",
    "py-setuptools-scm": "tag",
}
OPTIONS = {"node-open-handle": ["--timeout", "20"]}
ROWS = """\
lfs-pointer,failed,is a Git LFS pointer
node-abs-symlink,rejected,links out of the project
node-background-server,passed
node-bash-script,passed
node-bom,passed
node-build-folder,passed
node-committed-dist,passed
node-crlf-script,failed,has Windows line ends (CRLF)
node-engines,failed
node-eresolve,failed
node-git-hash,passed
node-gitignore-lib,failed
node-inner-links,passed
node-json-comments,rejected
node-lock-behind,failed
node-odd-names,passed
node-open-handle,timed_out
node-otel-default,passed
node-permission-test,passed
node-pnpm-birds,failed
node-pnpm-tides,failed
node-prepare-hooks,passed
node-rollup-foreign-lock,failed
node-root-and-parts,failed
node-sigkill,failed
node-src-coverage,passed
node-svelte-check,failed
node-symlinked-manifests,passed
node-trpc-own-typecheck,passed
node-vitest-plain,passed
node-zero-tests,rejected,nothing was checked
py-app-flat,passed
py-django-test-files,passed
py-dockerignore-readme,failed
py-environment,passed
py-load-test-name,passed
py-needs-library,failed
py-pipfile,passed
py-requirements-folder,passed
py-requires-newer,failed
py-setup-cfg,passed
py-setuptools-scm,passed
py-tox-deps,passed
py-utf16-requirements,passed
sub-folder-only,passed
ts-no-inputs,passed
"""


@dataclass(frozen=True)
class Case:
    """A project, its verdict, and words of its result."""

    name: str
    verdict: str
    words: str = ""


ALL = [Case(*row) for row in csv.reader(io.StringIO(ROWS))]


def prepared(name: str, into: Path) -> Path:
    """Copy a case, with its links and its repository."""
    project = into / name
    shutil.copytree(CASES / name, project)
    for link, target in LINKS.get(name, {}).items():
        (project / link).symlink_to(target)
    if (checkout := CHECKOUTS.get(name)) is not None:
        git(project, "init", "-q")
        if checkout != "init":
            git(project, "add", "-A")
            git(project, "commit", "-qm", "first")
        if checkout == "tag":
            git(project, "tag", "v1.2.0")
    return project


def git(project: Path, *arguments: str) -> None:
    """Run git as somebody."""
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *arguments], cwd=project, check=True)


def test_every_case_has_a_row() -> None:
    assert sorted(path.name for path in CASES.iterdir()) == [case.name for case in ALL]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm projects need Node and npm")
@pytest.mark.parametrize("packed", ["directory", "tarball"])
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_a_case_gets_its_verdict(case: Case, packed: str, tmp_path: Path) -> None:
    project = prepared(case.name, tmp_path)
    if packed == "tarball":
        archive = tmp_path / "project.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(project, arcname=".")
        project = archive
    options = ["--sandbox", "local", "--json", *OPTIONS.get(case.name, [])]
    ran = subprocess.run(
        [sys.executable, "-m", "revalid", "run", str(project), *options],
        env=os.environ | {"REVALID_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    document = json.loads(ran.stdout)
    rejected = "rejected" if ran.returncode == 2 else ran.stderr
    assert document.get("verdict", rejected) == case.verdict, ran.stdout
    assert case.words in ran.stdout
