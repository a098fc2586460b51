"""Paths and protection as both sandboxes read them."""

import pytest

from revalid.worker.sandboxes.protocol import StepFailed, Stream, check_unprotected, resolve


@pytest.mark.parametrize(
    ("workdir", "path", "resolved"),
    [
        ("/workspace", "a", "/workspace/a"),
        ("/workspace", "./a//b/.", "/workspace/a/b"),
        ("/workspace", ".", "/workspace"),
        ("/workspace", "", "/workspace"),
        ("/workspace", "a/../b", "/workspace/b"),
        ("/workspace/sub", "../b", "/workspace/b"),
        ("/workspace", "..", "/"),
        ("/workspace", "../etc/x", "/etc/x"),
        ("/workspace", "/etc/x", "/etc/x"),
        ("/workspace", "//etc//x/", "/etc/x"),
        ("/", "a", "/a"),
        ("/workspace", "...", "/workspace/..."),
        ("/workspace", "..a/b..", "/workspace/..a/b.."),
        ("/workspace", "~", "/workspace/~"),
    ],
)
def test_resolve(workdir: str, path: str, resolved: str) -> None:
    assert resolve(workdir, path) == resolved


@pytest.mark.parametrize(
    ("workdir", "path"),
    [
        ("/workspace", "../.."),
        ("/workspace", "../../x"),
        ("/workspace", "a/../../../x"),
        ("/workspace", "../../workspace/x"),
        ("/workspace", "/.."),
        ("/workspace", "/../workspace/x"),
        ("/", ".."),
        ("/a/b", "../../../x"),
    ],
)
def test_resolve_refuses_to_leave(workdir: str, path: str) -> None:
    with pytest.raises(StepFailed) as failure:
        resolve(workdir, path)
    assert repr(path) in str(failure.value)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("a.txt", "/workspace/a.txt"),
        ("./a.txt", "/workspace/a.txt"),
        ("x/../a.txt", "/workspace/a.txt"),
        ("a.txt", "/workspace/any/depth/a.txt"),
        ("*.lock", "/workspace/any/yarn.lock"),
        ("*.lock", "/etc/yarn.lock"),
        ("vault", "/workspace/vault/in/file"),
        ("vault/", "/workspace/vault/file"),
        ("vault/*", "/workspace/vault/in/file"),
        ("src/*.ts", "/workspace/src/in/file.ts"),
        ("src/**/fixed", "/workspace/src/a/b/fixed"),
        ("/opt/held", "/opt/held"),
        ("/opt/*", "/opt/in/file"),
        ("/workspace/a.txt", "/workspace/a.txt"),
        ("*", "/workspace/anything"),
        ("/opt/held", "/opt/held/below"),
    ],
)
def test_protected(glob: str, path: str) -> None:
    with pytest.raises(StepFailed, match=r"delete_file .*: protected by") as failure:
        check_unprotected("delete_file", path, ("unrelated", glob), "/workspace")
    assert repr(glob) in str(failure.value)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("a.txt", "/workspace/a.txt.bak"),
        ("A.txt", "/workspace/a.txt"),
        ("vault", "/workspace/vault2/file"),
        ("vault/*", "/workspace/vault"),
        ("vault/*", "/workspace/other/vault/file"),
        ("src/*.ts", "/workspace/lib/file.ts"),
        ("/opt/held", "/workspace/opt/held"),
        ("opt/held", "/opt/held"),
    ],
)
def test_unprotected(glob: str, path: str) -> None:
    check_unprotected("write_file", path, (glob,), "/workspace")


@pytest.mark.parametrize(
    ("stream", "truncated"),
    [
        (Stream(b"", b"", 0), False),
        (Stream(b"abc", b"", 3), False),
        (Stream(b"ab", b"c", 3), False),
        (Stream(b"ab", b"c", 4), True),
    ],
)
def test_truncated(stream: Stream, truncated: bool) -> None:
    assert stream.truncated is truncated
