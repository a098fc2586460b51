"""Words for a new process that stand in no argument list and in no environment."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def handed_over(words: Iterable[str]) -> Iterator[int]:
    """A descriptor of an anonymous file in memory with ``words``, each with a NUL after it.

    Raises:
        OSError: The file cannot be made.
        ValueError: A word holds a NUL.
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
