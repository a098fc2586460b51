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
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from revalid.jobs.settings import load_settings
from revalid.jobs.source import TarballSource
from revalid.producer.batch.git import checkout
from revalid.producer.submission import prepare

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


def forms(name: str, into: Path) -> Iterator[tuple[str, str]]:
    """A case in every form that a caller may have, as the sources of a batch."""
    project = prepared(name, into)
    if not (project / ".git").exists():
        git(project, "init", "-q")
    git(project, "add", "-A", "-f")
    git(project, "commit", "-q", "--allow-empty", "-m", "all")
    yield "directory", str(project)
    for kind, options in (("tar", []), ("tar.zst", ["--zstd"])):
        archive = into / f"{name}.{kind}"
        litter = into / f"._{name}"
        litter.write_bytes(b"\0\5\26\7" + bytes(60))
        command = ["tar", *options, "-cf", str(archive), "-C", str(into), litter.name, name]
        subprocess.run(command, check=True)
        yield kind, str(archive)
    with zipfile.ZipFile(into / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted(project.rglob("*")):
            directory = path.is_dir() and not path.is_symlink()
            info = zipfile.ZipInfo(f"{path.relative_to(into)}{'/' * directory}")
            info.external_attr = path.lstat().st_mode << 16
            if path.is_symlink():
                zipped.writestr(info, str(path.readlink()))
            else:
                zipped.writestr(info, b"" if directory else path.read_bytes())
    yield "zip", str(into / f"{name}.zip")
    yield "git", f"file://{project}"


@pytest.mark.parametrize(
    "name",
    [
        *("lfs-pointer", "node-bash-script", "node-committed-dist", "node-git-hash"),
        *("node-inner-links", "node-odd-names", "py-setuptools-scm", "py-utf16-requirements"),
    ],
)
def test_a_case_is_sent_alike_in_every_form(name: str, tmp_path: Path) -> None:
    settings = load_settings({"REVALID_HOME": str(tmp_path / "home")}, env_file=None)
    digests = {}
    for form, source in forms(name, tmp_path):
        files = checkout(source) if form == "git" else nullcontext(Path(source))
        with files as path, prepare(settings, path) as submission:
            assert isinstance(submission.job.source, TarballSource)
            digests[form] = submission.job.source.digest
    assert len(digests) == 5
    assert len(set(digests.values())) == 1, digests


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm projects need Node and npm")
def test_every_form_of_a_case_gets_its_verdict(tmp_path: Path) -> None:
    cases = [case for case in ALL if case.name in ("node-git-hash", "node-src-coverage")]
    cases += [case for case in ALL if case.name in ("node-sigkill", "node-abs-symlink")]
    lines, expected = [], ["project,verdict"]
    for case in cases:
        into = tmp_path / case.name
        into.mkdir()
        for form, source in forms(case.name, into):
            lines.append(json.dumps({"project": source, "name": f"{case.name}-{form}"}))
            expected.append(f"{case.name}-{form},{case.verdict}")
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(lines))
    (tmp_path / "expected.csv").write_text("\n".join(expected))
    command = [sys.executable, "-m", "revalid", "batch", "run", str(manifest), "--json"]
    ran = subprocess.run(
        [*command, "--sandbox", "local", "--expect", str(tmp_path / "expected.csv")],
        env=os.environ | {"REVALID_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    expectations = json.loads(ran.stdout)["expectations"]
    rejected = [row for row in expectations["wrong"] if "links out" in row["reason"]]
    assert len(rejected) == 5, ran.stdout
    assert expectations["right"] == len(lines) - 5, ran.stdout


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
