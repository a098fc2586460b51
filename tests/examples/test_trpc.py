"""The tRPC examples are what their README says: one project, and two variants of one line."""

import io
import json
import tarfile

import pytest

from revalid.jobs.projects.tarball import Bounds, pack
from tests.examples.conftest import EXAMPLES

BOUNDS = Bounds(files=1_000, bytes=2**24)


def files(name: str) -> dict[str, bytes]:
    """The files that a job of the example gets: no ``node_modules`` and no build output."""
    packed = io.BytesIO()
    pack(EXAMPLES / name, packed, BOUNDS)
    packed.seek(0)
    found = {}
    with tarfile.open(fileobj=packed) as tar:
        for entry in tar:
            if (content := tar.extractfile(entry)) is not None:
                found[entry.name] = content.read()
    return found


@pytest.mark.parametrize(
    ("variant", "changed"),
    [
        ("trpc-type-error", "client/src/App.tsx"),
        ("trpc-failing-test", "server/src/store.ts"),
    ],
)
def test_a_variant_differs_in_one_file(variant: str, changed: str) -> None:
    original, other = files("trpc-app"), files(variant)
    assert original.keys() == other.keys()
    assert [name for name in original if original[name] != other[name]] == [changed]


@pytest.mark.parametrize("name", ["trpc-app", "trpc-type-error", "trpc-failing-test"])
def test_a_lockfile_names_no_registry(name: str) -> None:
    lock = json.loads(files(name)["package-lock.json"])
    resolved = {entry["resolved"] for entry in lock["packages"].values() if "resolved" in entry}
    assert resolved == {"client", "server"}  # the workspaces
