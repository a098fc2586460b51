"""Raw answers of a server under test."""

import pytest

from revalid.worker.serving import body_of, status_of


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200),
        (b"HTTP/1.0 404\r\n", 404),
        (b"HTTP/1.1 099 x\r\n", None),
        (b"HTTP/1.1 2000 x\r\n", None),
        (b"SSH-2.0-x 200\r\n", None),
        (b"HTTP/1.1", None),
        (b"\x00\xff", None),
        (b"", None),
    ],
)
def test_the_status_is_that_of_the_first_line(response: bytes, status: int | None) -> None:
    assert status_of(response) == status


def test_a_body_in_chunks_is_joined() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert body_of(head + b"3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n") == b"abcde"
    assert body_of(head + b"ff\r\ncut") == b"cut"
    assert body_of(head + b"-5\r\nabc\r\nzz\r\n") == b""
    assert body_of(b"HTTP/1.1 200 OK\r\n\r\n3\r\nabc") == b"3\r\nabc"
