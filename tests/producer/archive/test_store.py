"""The archive's database: accepted URLs, and messages about one that fails."""

import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from revalid.jobs.errors import ArchiveUnavailable, InvalidSettings
from revalid.jobs.ledger.completions import Completion
from revalid.producer.archive.store import Archive
from tests.producer.archive.databases import Query

SECRET = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        SECRET,
        f"mysql://ada:{SECRET}@host/name",
        f"postgresql://ada:{SECRET}@host/name",
        f"postgresql+psycopg://ada:p@{SECRET}@host/name",
        f"postgresql+psycopg://ada:p@host:{SECRET}/name",
        f"postgresql+psycopg://ada:p@a/{SECRET}@host/name",
    ],
)
def test_another_url_is_refused_without_its_words(url: str) -> None:
    with pytest.raises(InvalidSettings, match=r"postgresql\+psycopg://user:") as raised:
        Archive(SecretStr(url))
    assert SECRET not in str(raised.value)


def test_an_unreachable_database_is_named_without_its_password() -> None:
    made = Archive(SecretStr(f"postgresql+psycopg://ada:{SECRET}@127.0.0.1:1/name?sslmode=disable"))
    assert made.where == "postgresql+psycopg://127.0.0.1:1/name"
    with pytest.raises(ArchiveUnavailable, match=r"127\.0\.0\.1:1/name: .*refused") as raised:
        made.create()
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_driver_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InvalidSettings, match=r"pip install 'revalid\[archive\]'"):
        Archive(SecretStr("postgresql+psycopg://host/name"))


def test_a_missing_directory_makes_the_archive_unavailable(tmp_path: Path) -> None:
    with pytest.raises(ArchiveUnavailable, match="unable to open"):
        Archive(SecretStr(f"sqlite:///{tmp_path}/none/archive.db")).create()


def test_tables_are_made_once_and_kept(archive: Archive, query: Query) -> None:
    archive.add([], [], Completion("1-0", "a"))
    archive.create()
    assert archive.last() == Completion("1-0", "a")


def test_tables_of_another_version_are_refused(archive: Archive, query: Query) -> None:
    query("UPDATE revalid_archive SET value = '1' WHERE name = 'schema_version'")
    with pytest.raises(InvalidSettings, match="version 1"):
        archive.create()
