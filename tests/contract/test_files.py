"""Contract: files and directories."""

import asyncio

import pytest

from revalid.worker.sandboxes import protocol
from revalid.worker.sandboxes.protocol import READ_BYTES, Entry, Sandbox, StepFailed
from tests.contract.checks import names, output

pytestmark = pytest.mark.asyncio(loop_scope="session")

EVERY_BYTE = bytes(range(256))
AWKWARD = [
    "with space",
    'it\'s "quoted"',
    "$HOME `id` $(id)",
    "-rf",
    "*",
    "back\\slash",
    "snö ☃.txt",
    "a" * 255,
]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("text\n", id="text"),
        pytest.param("", id="empty"),
        pytest.param("naïve ☃ 𝄞\r\n\n", id="unicode"),
        pytest.param(EVERY_BYTE, id="every byte"),
        pytest.param(b"", id="no bytes"),
        pytest.param(EVERY_BYTE * 20_480, id="5 MB"),
        pytest.param("${HOME} $(id) `id` 'x' \\n", id="shell"),
    ],
)
async def test_round_trip(sandbox: Sandbox, content: str | bytes) -> None:
    await sandbox.write_file("file", content)
    expected = content.encode() if isinstance(content, str) else content
    assert await sandbox.read_file("file") == expected
    assert await output(sandbox, "wc -c < file | tr -d ' '") == f"{len(expected)}\n"


@pytest.mark.parametrize("name", AWKWARD)
async def test_awkward_names(sandbox: Sandbox, name: str) -> None:
    await sandbox.write_file(f"sub/{name}", "one")
    await sandbox.write_files({f"sub/{name}": "two"})
    sandbox.with_env("NAME", name)
    assert await output(sandbox, 'cat "sub/$NAME"') == "two"
    assert await names(sandbox, "sub") == [name]
    assert await sandbox.read_file(f"sub/{name}") == b"two"
    await sandbox.delete_file(f"sub/{name}")
    assert await names(sandbox, "sub") == []


async def test_modes(sandbox: Sandbox) -> None:
    await sandbox.write_file("plain", "x")
    await sandbox.write_file("run", "#!/bin/sh\necho ran\n", mode=0o755)
    await sandbox.write_file("private", "x", mode=0o600)
    await sandbox.write_files({"bulk": "x"})
    assert await output(sandbox, "stat -c '%a' plain run private bulk") == "644\n755\n600\n644\n"
    assert await output(sandbox, "./run") == "ran\n"


async def test_missing_parents_are_created(sandbox: Sandbox) -> None:
    await sandbox.write_file("a/b/c/file", "x")
    await sandbox.write_file("/tmp/elsewhere/file", "y")
    assert await sandbox.read_file("/workspace/a/b/c/file") == b"x"
    assert await sandbox.read_file("../tmp/elsewhere/file") == b"y"


async def test_overwriting_replaces_content_and_mode(sandbox: Sandbox) -> None:
    await sandbox.write_file("file", "a long first content", mode=0o755)
    await sandbox.write_file("file", "short")
    assert await output(sandbox, "cat file; stat -c ' %a' file") == "short 644\n"


async def test_readonly_file_can_be_overwritten(sandbox: Sandbox) -> None:
    await sandbox.exec("echo old > file; chmod 400 file")
    await sandbox.write_file("file", "new")
    assert await sandbox.read_file("file") == b"new"


async def test_many_files_in_one_call(sandbox: Sandbox) -> None:
    files: dict[str, str | bytes] = {f"d{n % 7}/f{n}.txt": f"{n};" for n in range(199)}
    files["d0/binary"] = EVERY_BYTE
    await sandbox.write_file("d0/f0.txt", "old")
    await sandbox.write_files(files)
    assert (
        await output(sandbox, "cat d?/f*.txt | wc -c | tr -d ' '")
        == f"{10 * 2 + 90 * 3 + 99 * 4}\n"
    )
    assert await sandbox.read_file("d0/f0.txt") == b"0;"
    assert await sandbox.read_file("d2/f198.txt") == b"198;"
    assert await sandbox.read_file("d0/binary") == EVERY_BYTE


@pytest.mark.parametrize("bad", ["../../outside", "adir", "afile/below", "good/below"])
async def test_bulk_write_is_all_or_none(sandbox: Sandbox, bad: str) -> None:
    await sandbox.exec("mkdir adir; echo x > afile")
    with pytest.raises(StepFailed):
        await sandbox.write_files({"good": "x", "new/good": "x", bad: "y"})
    assert await names(sandbox) == ["adir", "afile"]


@pytest.mark.parametrize("path", ["adir", ".", "afile/below"])
async def test_write_to_an_impossible_path(sandbox: Sandbox, path: str) -> None:
    await sandbox.exec("mkdir adir; echo x > afile")
    with pytest.raises(StepFailed, match="write_file"):
        await sandbox.write_file(path, "y")
    assert await sandbox.read_file("afile") == b"x\n"


@pytest.mark.parametrize("path", ["none", "no/such", "/none", "adir"])
async def test_reading_and_deleting_a_missing_file(sandbox: Sandbox, path: str) -> None:
    await sandbox.exec("mkdir adir")
    with pytest.raises(StepFailed, match=f"read_file .*{path}"):
        await sandbox.read_file(path)
    with pytest.raises(StepFailed, match=f"delete_file .*{path}"):
        await sandbox.delete_file(path)
    assert await names(sandbox) == ["adir"]


async def test_delete(sandbox: Sandbox) -> None:
    await sandbox.write_files({"a/one": "1", "a/two": "2"})
    await sandbox.delete_file("a/one")
    assert await names(sandbox, "a") == ["two"]
    with pytest.raises(StepFailed):
        await sandbox.read_file("a/one")


async def test_list_distinguishes_directories_from_files(sandbox: Sandbox) -> None:
    await sandbox.write_files({"b/inner": "", ".hidden/x": "", ".dot": "", "a": "", "C": ""})
    await sandbox.exec("mkdir empty; ln -s b link")
    assert await sandbox.list_directory() == [
        Entry(".dot", is_directory=False),
        Entry(".hidden", is_directory=True),
        Entry("C", is_directory=False),
        Entry("a", is_directory=False),
        Entry("b", is_directory=True),
        Entry("empty", is_directory=True),
        Entry("link", is_directory=False),
    ]
    assert await sandbox.list_directory("b") == [Entry("inner", is_directory=False)]
    assert await sandbox.list_directory("/workspace/empty") == []


@pytest.mark.parametrize("path", ["none", "afile"])
async def test_listing_a_missing_directory(sandbox: Sandbox, path: str) -> None:
    await sandbox.write_file("afile", "x")
    with pytest.raises(StepFailed, match=f"list_directory .*{path}"):
        await sandbox.list_directory(path)


async def test_a_directory_of_very_many_names_is_not_listed(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "READ_BYTES", 10_000)
    many = f"mkdir many; cd many; seq 101 150 | sed s/^/{'x' * 200}/ | xargs touch"
    assert (await sandbox.exec(many)).exit_code == 0
    with pytest.raises(StepFailed, match=r"list_directory .*many: its names have"):
        await sandbox.list_directory("many")


async def test_concurrent_writes_lose_nothing(sandbox: Sandbox) -> None:
    await asyncio.gather(*(sandbox.write_file(f"f{n:02}", f"{n}") for n in range(50)))
    assert await names(sandbox) == [f"f{n:02}" for n in range(50)]
    assert await output(sandbox, "cat f*") == "".join(str(n) for n in range(50))


async def test_concurrent_operations_of_all_kinds(sandbox: Sandbox) -> None:
    await sandbox.write_file("doomed", "x")
    await asyncio.gather(
        sandbox.write_files({"one": "1", "two": "2"}),
        sandbox.exec("echo 3 > three"),
        sandbox.delete_file("doomed"),
        sandbox.write_file("four", "4"),
        sandbox.exec("echo 5 > five"),
    )
    assert await names(sandbox) == ["five", "four", "one", "three", "two"]


async def test_a_large_sparse_file_is_not_read(sandbox: Sandbox) -> None:
    setup = await sandbox.exec(f"truncate -s {READ_BYTES + 1} large && truncate -s 1M fine")
    assert setup.exit_code == 0
    with pytest.raises(StepFailed, match=f"read_file .*large: is larger than {READ_BYTES} bytes"):
        await sandbox.read_file("large")
    assert await sandbox.read_file("fine") == bytes(2**20)


@pytest.mark.parametrize("path", ["pipe", "link"])
async def test_pipe_is_not_read(sandbox: Sandbox, path: str) -> None:
    await sandbox.exec("mkfifo pipe; ln -s pipe link")
    async with asyncio.timeout(20):
        with pytest.raises(StepFailed, match="not a regular file"):
            await sandbox.read_file(path)
