"""Faults of the worker's own files are distinguished from a job's; tested on a full disk."""

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from revalid.jobs.errors import InvalidProject, SandboxLost
from revalid.jobs.settings import Settings, load_settings
from revalid.worker.own_files import FREE_BYTES, check_files, own_fault
from tests.worker.disks import small_disk


def settings_of(home: Path, scratch: Path) -> Settings:
    return load_settings({}, env_file=None, home=home, scratch=scratch)


@contextmanager
def open_files(most: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EROFS, errno.EIO])
def test_a_fault_is_found_among_the_causes_of_an_error(number: int) -> None:
    with pytest.raises(InvalidProject) as hidden:
        try:
            raise OSError(number, "words")
        except OSError:
            raise InvalidProject("the project cannot be read") from None
    assert "words" in str(own_fault(hidden.value))
    with pytest.raises(SandboxLost) as told:
        try:
            raise OSError(number, "words")
        except OSError as error:
            raise SandboxLost("lost") from error
    assert "words" in str(own_fault(told.value))


@pytest.mark.parametrize(
    "error",
    [None, OSError("words"), PermissionError(errno.EACCES, "words"), ValueError("words")],
)
def test_other_errors_are_not_faults_of_the_workers_files(error: Exception | None) -> None:
    assert own_fault(error) is None


def test_a_disk_with_room_is_ok(tmp_path: Path) -> None:
    assert check_files(settings_of(tmp_path, tmp_path)) is None
    assert not list(tmp_path.iterdir())


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    reason = check_files(settings_of(tmp_path, tmp_path / "none"))
    assert reason == f"{tmp_path / 'none'}: No such file or directory"


def test_a_full_disk_and_one_with_little_room_are_named(tmp_path: Path) -> None:
    with small_disk(tmp_path, FREE_BYTES + 2**20) as disk:
        settings = settings_of(tmp_path, disk)
        assert check_files(settings) is None
        (disk / "some").write_bytes(bytes(2 * 2**20))
        assert check_files(settings) == f"{disk}: less than 64 MiB free"
        with (disk / "rest").open("wb") as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(2**20))
                file.flush()
        assert check_files(settings) == f"{disk}: No space left on device"


def test_few_descriptors_are_named(tmp_path: Path) -> None:
    with open_files(most=40):
        reason = check_files(settings_of(tmp_path, tmp_path))
    assert reason == "64 descriptors cannot be opened: Too many open files"
