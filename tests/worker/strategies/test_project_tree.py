"""Reading a project that may be hostile."""

import os
import time
from pathlib import Path

import pytest

from revalid.jobs.errors import InvalidProject
from revalid.worker.strategies.project_tree import MAX_BYTES, TOTAL_BYTES, ProjectTree
from tests.worker.strategies.conftest import Make


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "package.json").write_text('{"name": "secret"}')
    return directory


def test_a_linked_file_is_missing(project: Path, secret: Path) -> None:
    (project / "package.json").symlink_to(secret / "package.json")
    tree = ProjectTree(project)
    assert tree.files == set()
    assert (tree.text("package.json"), tree.head("package.json")) == (None, "")


def test_a_link_to_a_file_of_the_project_is_that_file(project: Path) -> None:
    (project / "config").mkdir()
    (project / "config" / "package.json").write_text('{"name": "inner"}')
    (project / "package.json").symlink_to("config/package.json")
    (project / "loop").symlink_to("loop")
    (project / "dangling").symlink_to("missing")
    tree = ProjectTree(project)
    assert tree.json("package.json") == {"name": "inner"}
    assert tree.files == {"package.json", "config/package.json"}


@pytest.mark.parametrize(
    ("link", "others", "directories"),
    [
        ("package.json", [], ["."]),
        ("package.json", ["config/a/lib.js"], [".", "config"]),
        ("manifest.json", [], ["config"]),
        ("other/package.json", [], ["config", "other"]),
    ],
)
def test_a_directory_of_linked_files_is_no_part_of_its_own(
    project: Path, link: str, others: list[str], directories: list[str]
) -> None:
    for path in ("config/package.json", *others):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text("{}")
    (project / link).parent.mkdir(exist_ok=True)
    (project / link).symlink_to(project / "config" / "package.json")
    tree = ProjectTree(project)
    assert tree.directories_with("package.json") == directories
    assert tree.below("config").directories_with("package.json") == ["."]


def test_the_tree_of_a_directory_holds_its_files_alone(make: Make) -> None:
    beside = ("api!/a", "api-x/a", "api.txt", "api0", "apia/a", "b/api/a")
    tree = make(dict.fromkeys((*beside, "api/a", "api/z/!", "api/z/b", "api/~"), ""))
    below = tree.below("api")
    assert below.files == {"a", "z/!", "z/b", "~"}
    assert below.below("z").files == {"!", "b"}
    assert tree.below("ap").files == set()


def test_files_that_do_not_belong_to_the_project_are_missing(project: Path) -> None:
    for name in ("package.json", "ignored.json"):
        (project / name).write_text("{}")
    tree = ProjectTree(project, {"package.json"})
    assert tree.files == {"package.json"}
    assert tree.json("ignored.json") is None


def test_a_long_chain_of_links_is_not_followed(project: Path) -> None:
    for number in range(100):
        (project / str(number)).symlink_to(str(number + 1))
    (project / "100").touch()
    files = ProjectTree(project).files
    assert "99" in files
    assert "0" not in files, "the system follows no more than 40 links"


def test_a_linked_directory_is_not_entered(project: Path, secret: Path) -> None:
    (project / "client").symlink_to(secret)
    tree = ProjectTree(project)
    assert tree.files == set()
    assert tree.text("client/package.json") is None


@pytest.mark.parametrize("swapped", ["client", "client/package.json"])
def test_a_link_that_replaced_a_file_after_the_walk_is_not_followed(
    make: Make, project: Path, secret: Path, swapped: str
) -> None:
    tree = make({"client/package.json": "{}"})
    assert tree.files == {"client/package.json"}
    path = project / swapped
    path.rename(project / "moved")
    path.symlink_to(secret / Path(swapped).relative_to("client"))
    assert tree.text("client/package.json") is None


def test_a_pipe_that_replaced_a_file_does_not_hang(make: Make, project: Path) -> None:
    tree = make({"package.json": "{}"})
    assert tree.files == {"package.json"}
    (project / "package.json").unlink()
    os.mkfifo(project / "package.json")
    assert tree.text("package.json") is None


@pytest.mark.parametrize("path", ["../outside/package.json", "/etc/passwd", "", "a\0b", "\udcff"])
def test_a_path_that_names_no_file_of_the_project_reads_as_none(
    make: Make, secret: Path, path: str
) -> None:
    assert secret.exists()
    assert make({"package.json": "{}"}).text(path) is None


def test_installed_packages_are_detected_and_not_listed(make: Make) -> None:
    tree = make({"a.ts": "", "client/node_modules/x/package.json": "{}", ".git/config": ""})
    assert tree.files == {"a.ts"}
    assert tree.has_node_modules


def test_text_is_capped_and_head_is_not_refused(make: Make) -> None:
    tree = make({"exact": "x" * MAX_BYTES, "over": "x" * (MAX_BYTES + 1)})
    assert len(tree.text("exact") or "") == MAX_BYTES
    assert tree.head("over", 3) == "xxx"
    with pytest.raises(InvalidProject, match=f"over is larger than {MAX_BYTES} bytes"):
        tree.text("over")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "a.json is not a JSON object: .*line 1 column 2"),
        ("[1]", "a.json is not a JSON object; correct"),
        ("[" * 500_000, "a.json is not a JSON object: .*recursion"),
        ('{"a": ' + "1" * 5000 + "}", "a.json is not a JSON object: "),
    ],
)
def test_malformed_json_is_an_invalid_project(make: Make, content: str, message: str) -> None:
    with pytest.raises(InvalidProject, match=message):
        make({"a.json": content}).json("a.json")


def test_a_byte_order_mark_is_accepted(make: Make) -> None:
    assert make({"a.json": '\ufeff{"a": 1}'}).json("a.json") == {"a": 1}


def test_other_encodings_are_refused(make: Make, project: Path) -> None:
    (project / "a.json").write_bytes('{"a": "é"}'.encode("utf-16"))
    with pytest.raises(InvalidProject, match=r"a.json is not UTF-8 \(byte 0\)"):
        make({}).json("a.json")


def test_malformed_toml_is_an_invalid_project(make: Make) -> None:
    tree = make({"pyproject.toml": "[tool"})
    with pytest.raises(InvalidProject, match=r"pyproject.toml is not TOML: Expected"):
        tree.toml("pyproject.toml")


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 50_000) + " = 1",
        ".".join(['"\u2028"'] * 20_000) + " = 1",  # such a character ends no line of TOML
        "# " + "x" * (1 << 17),
    ],
)
def test_a_toml_file_that_would_take_minutes_is_refused(make: Make, text: str) -> None:
    tree = make({"pyproject.toml": text})
    with pytest.raises(InvalidProject, match=r"over 500 dots in a line"):
        tree.toml("pyproject.toml")


def test_the_slowest_accepted_toml_file_ends_soon(make: Make) -> None:
    lines = [f"[k{n}." + ".".join("a" * 490) + "]" for n in range(130)]
    started = time.monotonic()
    assert make({"pyproject.toml": "\n".join(lines)}).toml("pyproject.toml")
    assert time.monotonic() - started < 10


def test_a_project_that_is_gone_is_an_invalid_project(tmp_path: Path) -> None:
    with pytest.raises(InvalidProject, match=r"'.' of the project cannot be read: No such file"):
        _ = ProjectTree(tmp_path / "gone").files


def test_a_deep_tree_is_walked_in_time(make: Make) -> None:
    tree = make({"/".join("d" * 150) + "/package.json": "{}"})
    started = time.monotonic()
    assert len(tree.files) == 1
    assert time.monotonic() - started < 5


def test_manifests_are_bounded_together(make: Make) -> None:
    number = TOTAL_BYTES // MAX_BYTES
    names = [f"{n}/package.json" for n in range(number + 1)]
    tree = make({name: "{}".ljust(MAX_BYTES) for name in names})
    for name in names[:-1]:
        assert tree.json(name) == {}
    with pytest.raises(InvalidProject, match=f"larger than {TOTAL_BYTES} bytes together"):
        tree.json(names[-1])


def test_a_file_is_read_only_once(make: Make) -> None:
    tree = make({"package.json": "{}".ljust(MAX_BYTES)})
    for _ in range(2 * TOTAL_BYTES // MAX_BYTES):
        assert tree.json("package.json") == {}
