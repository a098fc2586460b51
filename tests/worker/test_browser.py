"""The script that controls the browser; the contract tests run it with one."""

import struct
import zlib
from pathlib import Path

import pytest

from revalid.worker.browser import find_browser, is_one_colour

WIDTH, HEIGHT = 5, 4
COLOUR = (200, 17, 255)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + kind + data + bytes(4)


def png(pixels: list[list[tuple[int, int, int]]], filters: list[int]) -> bytes:
    """Return a picture whose rows have these filters, by the formulas of the PNG standard."""
    rows = b""
    above = bytes(3 * WIDTH)
    for row_filter, row in zip(filters, pixels, strict=True):
        line = bytes(value for pixel in row for value in pixel)
        left = bytes(3) + line[:-3]
        corner = bytes(3) + above[:-3]
        expected = {
            0: bytes(len(line)),
            1: left,
            2: above,
            3: bytes((a + b) // 2 for a, b in zip(left, above, strict=True)),
            4: bytes(map(paeth, left, above, corner)),
        }[row_filter]
        rows += bytes([row_filter])
        rows += bytes((a - b) % 256 for a, b in zip(line, expected, strict=True))
        above = line
    header = struct.pack("!II", WIDTH, HEIGHT) + bytes([8, 2, 0, 0, 0])
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def paeth(left: int, above: int, corner: int) -> int:
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))


@pytest.mark.parametrize("first", range(5))
@pytest.mark.parametrize("other", range(5))
def test_a_picture_of_one_colour_is_seen_with_every_filter(first: int, other: int) -> None:
    filters = [first] + [other] * (HEIGHT - 1)
    pixels = [[COLOUR] * WIDTH for _ in range(HEIGHT)]
    assert is_one_colour(png(pixels, filters))
    pixels[2][3] = (200, 17, 254)
    assert not is_one_colour(png(pixels, filters))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"\x89PNG" + bytes(99)])
def test_what_is_no_picture_is_not_of_one_colour(content: bytes) -> None:
    assert not is_one_colour(content)


def test_a_browser_of_playwright_goes_first(tmp_path: Path) -> None:
    program = tmp_path / "browsers/chromium-1255/chrome-linux/chrome"
    on_path = tmp_path / "bin/chromium"
    for path in (program, on_path):
        path.parent.mkdir(parents=True)
        path.touch(mode=0o755)
    environ = {"PATH": str(on_path.parent), "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path / "browsers")}
    assert find_browser(environ) == str(program)
    program.unlink()
    assert find_browser(environ) == str(on_path)
    on_path.unlink()
    assert find_browser(environ) is None
