"""Passes arguments to a new process without an argument list or an environment."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def argument_file(words: Iterable[str]) -> Iterator[int]:
    """Yield the descriptor of an in-memory file with ``words``, each followed by a NUL.

    Raises:
        OSError: The file cannot be created.
        ValueError: A word contains a NUL.
    """
    content = bytearray()
    for word in words:
        if "\0" in word:
            raise ValueError("embedded null byte")
        content += os.fsencode(word) + b"\0"
    descriptor = os.memfd_create("revalid")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
