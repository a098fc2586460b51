"""Sources of projects: refused values, and the round trip."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from revalid.jobs.source import PathSource, Source, TarballSource
from tests.jobs.samples import DIGEST

SOURCE: TypeAdapter[Source] = TypeAdapter(Source)


@pytest.mark.parametrize(
    "source", [TarballSource(digest=DIGEST, size_bytes=0), PathSource(path="/srv/app")]
)
def test_json_brings_a_source_back_as_its_own_type(source: Source) -> None:
    copy = SOURCE.validate_json(SOURCE.dump_json(source))
    assert (type(copy), copy) == (type(source), source)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "git", "path": "/srv/app"},
        {"kind": "path", "path": "srv/app"},
        {"kind": "path", "path": "/srv\0"},
        {"kind": "path", "path": "/srv\n"},
        {"kind": "path", "path": "/srv", "digest": DIGEST},
        {"kind": "tarball", "digest": DIGEST.upper(), "size_bytes": 1},
        {"kind": "tarball", "digest": DIGEST[1:], "size_bytes": 1},
        {"kind": "tarball", "digest": DIGEST + "\n", "size_bytes": 1},
        {"kind": "tarball", "digest": DIGEST, "size_bytes": -1},
        {"kind": "tarball", "digest": DIGEST},
    ],
    ids=str,
)
def test_a_bad_source_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SOURCE.validate_python(fields)
