"""Where a batch's projects come from, and how they are named, filtered and refused."""

import errno
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from revalid.jobs.errors import InvalidJob, InvalidProject, RevalidError
from revalid.producer.batch.item import BatchItem
from revalid.producer.batch.sources import find_entries


@pytest.fixture
def apps(tmp_path: Path) -> Path:
    """Three directories, a tarball, and files that are not projects."""
    root = tmp_path / "apps"
    for name in ("shop", "tasks", "team-app"):
        (root / name).mkdir(parents=True)
        (root / name / "package.json").write_text("{}")
    with tarfile.open(root / "packed.tar.gz", "w:gz") as tar:
        tar.add(root / "shop", "shop")
    (root / ".git").mkdir()
    (root / "notes.txt").write_text("no project")
    return root


def names(entries: list[BatchItem]) -> list[str]:
    return [entry.project for entry in entries]


def test_a_directory_of_projects_is_sorted(apps: Path) -> None:
    found = find_entries([str(apps)])
    assert names(found) == ["packed", "shop", "tasks", "team-app"]
    assert found[1].origin == str(apps / "shop")


def test_a_project_is_one_project_not_its_directories(apps: Path) -> None:
    (apps / "shop" / "src").mkdir()
    assert names(find_entries([str(apps / "shop")])) == ["shop"]
    (apps / "tasks" / "package.json").rename(apps / "tasks" / "readme")
    (apps / "tasks" / "server").mkdir()
    (apps / "tasks" / "server" / "package.json").write_text("{}")
    assert names(find_entries([str(apps / "tasks")])) == ["tasks"]


def test_globs_and_tarballs(apps: Path) -> None:
    assert names(find_entries([f"{apps}/t*"])) == ["tasks", "team-app"]
    assert names(find_entries([str(apps / "packed.tar.gz"), str(apps / "shop")])) == [
        "packed",
        "shop",
    ]


def test_git_urls_are_named_after_their_repository() -> None:
    urls = [
        "https://example.org/team/shop.git",
        "git@example.org:team/tasks.git#main",
        "https://example.org/other/shop",
    ]
    found = find_entries(urls)
    assert names(found) == ["shop", "tasks", "shop-2"]
    assert [entry.origin for entry in found] == urls


def test_equal_names_are_made_unique(apps: Path, tmp_path: Path) -> None:
    for name in ("shop", "shop-2"):
        (tmp_path / "more" / name).mkdir(parents=True)
    found = names(find_entries([str(apps), str(tmp_path / "more"), str(apps / "shop")]))
    assert len(set(found)) == len(found) == 7
    assert found[4] == "shop-2"


def test_a_json_lines_manifest(apps: Path) -> None:
    manifest = apps / "list.jsonl"
    manifest.write_text(
        '{"project": "shop", "labels": {"team": "a"}, "strategy": "npm"}\n'
        "\n"
        '{"project": "https://example.org/x.git", "name": "other", "commands": ["make"]}\n'
    )
    first, second = find_entries([str(manifest)])
    assert (first.project, first.origin) == ("shop", str(apps / "shop"))
    assert (first.labels, first.options) == ({"team": "a"}, {"strategy": "npm"})
    assert (second.project, second.options) == ("other", {"commands": ["make"]})


def test_other_columns_of_a_csv_manifest_are_labels(apps: Path) -> None:
    manifest = apps / "list.csv"
    manifest.write_text("project,command,team\nshop,npm test,a\ntasks,,b\n")
    first, second = find_entries([str(manifest)])
    assert (first.options, first.labels) == ({"commands": ["npm test"]}, {"team": "a"})
    assert (second.options, second.labels) == ({}, {"team": "b"})
    assert names(find_entries([str(manifest)], labels={"team": "b"})) == ["tasks"]


def test_filters_and_repeats(apps: Path) -> None:
    source = [str(apps)]
    assert names(find_entries(source, only=["t*", "shop"])) == ["shop", "tasks", "team-app"]
    assert names(find_entries(source, limit=2)) == ["packed", "shop"]
    twice = find_entries(source, only=["t*"], repeat=2)
    assert [(entry.project, entry.repeat) for entry in twice] == [
        ("tasks", 1),
        ("team-app", 1),
        ("tasks", 2),
        ("team-app", 2),
    ]


@pytest.mark.parametrize(
    ("name", "content", "kind", "words"),
    [
        ("a.jsonl", "{", InvalidJob, r"a.jsonl:1: not JSON"),
        ("a.jsonl", '{"project": ""}', InvalidJob, r"a.jsonl:1: project: "),
        ("a.jsonl", '{"project": "x", "comands": []}', InvalidJob, r"a.jsonl:1: comands: Extra"),
        ("a.csv", "project,name\nshop\n", InvalidJob, r"a.csv:2: the number of columns differs"),
        ("a.csv", "name\nshop\n", InvalidJob, r"a.csv:2: project: Field required"),
        ("a.jsonl", b"\xff", InvalidProject, r"manifest .*a.jsonl: .*decode"),
        ("a.jsonl", "[" * 200_000, InvalidJob, r"a.jsonl:1: nested too deeply"),
    ],
)
def test_an_error_in_a_manifest_names_its_line(
    tmp_path: Path, name: str, content: str | bytes, kind: type[RevalidError], words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(kind, match=words):
        find_entries([str(path)])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere", "not a directory, archive, .jsonl or .csv manifest, glob or Git URL"),
        ("nowhere/*", "no file matches"),
        ("missing.csv", "manifest missing.csv"),
        ("", "not a directory"),
    ],
)
def test_an_invalid_source_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidProject, match=words):
        find_entries([source or str(tmp_path / "file")])


def test_a_directory_without_projects_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidProject, match="it contains no projects"):
        find_entries([str(tmp_path)])


def test_filters_without_a_match_are_reported(apps: Path) -> None:
    with pytest.raises(InvalidProject, match="none of the 4 projects matches: loosen --only"):
        find_entries([str(apps)], only=["nothing*"])


def test_a_quoted_field_keeps_its_newline(apps: Path) -> None:
    manifest = apps / "list.csv"
    manifest.write_bytes(b'project,command\r\nshop,"npm ci\nnpm test"\r\ntasks,make\r\n')
    first, second = find_entries([str(manifest)])
    assert first.options == {"commands": ["npm ci\nnpm test"]}
    assert second.options == {"commands": ["make"]}


def test_json_lines_end_at_newlines_only(apps: Path) -> None:
    manifest = apps / "list.jsonl"
    manifest.write_text('{"project": "shop", "labels": {"note": "a\u2028b\x85c"}}\r\n')
    (entry,) = find_entries([str(manifest)])
    assert entry.labels == {"note": "a\u2028b\x85c"}


def test_a_name_that_is_not_utf8_is_reported(apps: Path) -> None:
    os.mkdir(os.fsencode(apps) + b"/caf\xe9")  # noqa: PTH102 - bytes
    with pytest.raises(InvalidProject, match=r"caf\\udce9: the name is not UTF-8: rename it"):
        find_entries([str(apps)])


def test_a_name_that_is_too_long_is_reported() -> None:
    with pytest.raises(InvalidProject, match=r"x{200}\.\.\.: File name too long"):
        find_entries(["x" * 300])


def test_an_unreadable_directory_is_reported(apps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)  # root may read what chmod forbids
    with pytest.raises(InvalidProject, match="apps: Permission denied"):
        find_entries([str(apps)])
