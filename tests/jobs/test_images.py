"""The operator's table of images is read with clear errors."""

from pathlib import Path

import pytest

from revalid.jobs.errors import InvalidSettings
from revalid.jobs.images import BUILT_IN, load_images

DIGEST = "sha256:" + "a" * 64


def test_without_a_file_the_built_in_table_counts() -> None:
    assert load_images(None) is BUILT_IN


def test_a_file_replaces_the_languages_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "images.toml"
    path.write_text(f'[python]\n"3.13" = "registry.internal:5000/python:3.13@{DIGEST}"\n')
    own = {"3.13": f"registry.internal:5000/python:3.13@{DIGEST}"}
    assert load_images(path) == {**BUILT_IN, "python": own, "python-full": own}
    path.write_text('[python]\n"3.13" = "a/python"\n[python-full]\n"3.13" = "a/full"\n')
    load_images.cache_clear()
    assert load_images(path)["python-full"] == {"3.13": "a/full"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[node\n", "is not TOML: "),
        ("a = " + "[" * 5_000, "is not TOML: "),
        ("#" * 70_000, "has more than 65536 bytes"),
        ('[nodes]\n"20" = "node:20"', "no language 'nodes': use node"),
        ('[cobol]\n"85" = "cobol:85"', "no language 'cobol': use cgo, deno, dotnet, go, gradle, "),
        ("node = 20", "node is not a table of images"),
        ("[node]", "node is not a table of images"),
        ('[node]\n"20.1" = "node:20"', "node '20.1' is not a version such as '20'"),
        ('[python]\n"3" = "python:3"', "python '3' is not a version such as '3.12'"),
        ('[node]\n"20" = "Node 20"', "node 20: 'Node 20' is not an image reference such as"),
        ('[node]\n"20" = 20', "node 20: 20 is not an image reference"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "images.toml"
    path.write_text(text)
    with pytest.raises(InvalidSettings) as caught:
        load_images(path)
    assert str(caught.value).startswith(f"REVALID_IMAGES {path}")
    assert error in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="none: No such file or directory: name a readable"):
        load_images(tmp_path / "none")
