"""Keys of a home, and those derived from one."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from revalid.jobs.signing_keys import derive, home_key


def test_each_purpose_has_its_own(tmp_path: Path) -> None:
    assert home_key(tmp_path, "a") == home_key(tmp_path, "a") != home_key(tmp_path, "b")
    assert derive(b"key", "a") != derive(b"key", "b") != b"key"
    assert (tmp_path / "home.key").read_bytes() not in (home_key(tmp_path, "a"), b"")


def test_concurrent_processes_get_the_same_key(tmp_path: Path) -> None:
    for number in range(20):
        home = tmp_path / str(number)
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(home_key, [home] * 8, ["a"] * 8))) == 1
        assert [path.name for path in home.iterdir()] == ["home.key"]
