"""The table of images by language and version: built in, or an operator's."""

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import MappingProxyType

from revalid.jobs.errors import InvalidSettings
from revalid.jobs.job import DEFAULT_IMAGE, IMAGE

ImageTable = Mapping[str, Mapping[str, str]]
"""Images by language and version; the first one of a language that fits the project is taken.

Those of ``node-full`` and ``python-full`` have Git, Bash, compilers and Python too.
"""

BUILT_IN: ImageTable = MappingProxyType(
    {
        "node": {
            "20": DEFAULT_IMAGE,
            "22": "node:22-alpine3.22",
            "24": "node:24-alpine3.22",
            "18": "node:18-alpine3.21",
        },
        "python": {
            "3.12": "python:3.12-slim",
            "3.13": "python:3.13-slim",
            "3.11": "python:3.11-slim",
            "3.14": "python:3.14-slim",
            "3.10": "python:3.10-slim",
        },
        "node-full": {major: f"node:{major}-bookworm" for major in ("20", "22", "24", "18")},
        "python-full": {
            minor: f"python:{minor}-bookworm" for minor in ("3.12", "3.13", "3.11", "3.14", "3.10")
        },
        "go": {"1.26": "golang:1.26-alpine"},
        "cgo": {"1.26": "golang:1.26-bookworm"},
        "rust": {"1.95": "rust:1.95.0"},
        "java": {
            "21": "maven:3.9-eclipse-temurin-21",
            "17": "maven:3.9-eclipse-temurin-17",
            "11": "maven:3.9-eclipse-temurin-11",
            "8": "maven:3.9-eclipse-temurin-8",
            "25": "maven:3.9-eclipse-temurin-25",
        },
        "gradle": {
            "21": "gradle:8-jdk21",
            "17": "gradle:8-jdk17",
            "11": "gradle:8-jdk11",
            "8": "gradle:8-jdk8",
            "25": "gradle:9-jdk25",
        },
        "php": {
            "8.4": "composer:2.8",
            "8.3": "php:8.3-cli-alpine",
            "8.2": "php:8.2-cli-alpine",
            "8.1": "php:8.1-cli-alpine",
            "8.5": "php:8.5-cli-alpine",
            "7.4": "php:7.4-cli-alpine",
        },
        "ruby": {
            "3.3": "ruby:3.3",
            "3.4": "ruby:3.4",
            "3.2": "ruby:3.2",
            "3.1": "ruby:3.1",
            "2.7": "ruby:2.7",
        },
        "dotnet": {
            "8": "mcr.microsoft.com/dotnet/sdk:8.0",
            "9": "mcr.microsoft.com/dotnet/sdk:9.0",
            "10": "mcr.microsoft.com/dotnet/sdk:10.0",
            "6": "mcr.microsoft.com/dotnet/sdk:6.0",
        },
        "deno": {"2": "denoland/deno:2.9.6"},
    }
)
_MAX_BYTES = 65_536
_VERSION = re.compile(r"\d{1,4}(?:\.\d{1,4})?\Z")


@cache
def load_images(path: Path | None) -> ImageTable:
    """Return the table of images: the built-in one, with the languages that a file replaces.

    Args:
        path: The operator's file, ``REVALID_IMAGES``.

    Raises:
        InvalidSettings: The file cannot be read, or something in it is wrong.
    """
    if path is None:
        return BUILT_IN
    where = f"REVALID_IMAGES {path}"
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        given = tomllib.loads(data.decode())
    except OSError as error:
        raise InvalidSettings(f"{where}: {error.strerror}: name a readable file") from None
    except (ValueError, RecursionError) as error:
        raise InvalidSettings(f"{where} is not TOML: {error}") from None
    if len(data) > _MAX_BYTES:
        raise InvalidSettings(f"{where} has more than {_MAX_BYTES} bytes: make it smaller")
    own = {language: _images(where, language, images) for language, images in given.items()}
    full = {f"{language}-full": images for language, images in own.items()}
    # Who replaces the images of a language gets none of the built-in ones for it.
    inherited = {language: images for language, images in full.items() if language in BUILT_IN}
    return MappingProxyType({**BUILT_IN, **inherited, **own})


def _images(where: str, language: str, given: object) -> dict[str, str]:
    """Return the images of one language, checked."""
    if language not in BUILT_IN:
        near = get_close_matches(language, BUILT_IN, n=1) or sorted(BUILT_IN)
        raise InvalidSettings(f"{where}: no language {language!r}: use {', '.join(near)}")
    if not isinstance(given, dict) or not given:
        raise InvalidSettings(f'{where}: {language} is not a table of images: "20" = "node:20"')
    example = next(iter(BUILT_IN[language]))
    for version, image in given.items():
        if not _VERSION.match(version) or version.count(".") != example.count("."):
            raise InvalidSettings(
                f"{where}: {language} {version!r} is not a version such as {example!r}"
            )
        if not isinstance(image, str) or not IMAGE.match(image):
            raise InvalidSettings(
                f"{where}: {language} {version}: {image!r:.80} is not an image reference such as "
                f"{BUILT_IN[language][example]!r}"
            )
    return {str(version): str(image) for version, image in given.items()}


def repository(image: str) -> str:
    """Return an image's name without its tag and its digest."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
