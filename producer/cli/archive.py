"""``archive``: copies finished jobs into a SQL database."""

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from revalid.jobs.errors import InvalidSettings, TransientError
from revalid.jobs.settings import load_settings
from revalid.producer.cli.output import console
from revalid.producer.cli.services import on_broker
from revalid.producer.client import Client
from revalid.producer.sanitize import one_line

if TYPE_CHECKING:
    from revalid.producer.archive.store import Archive

log = logging.getLogger("revalid.archive")
_POLL_S = 1.0
_RETRY_S = 5.0


def archive(*, once: bool) -> int:
    """Copy finished jobs until a signal comes, or once; return the exit status."""
    settings = load_settings()
    if settings.archive_url is None:
        raise InvalidSettings(
            "REVALID_ARCHIVE_URL is not set: set it to the URL of a database, such as "
            "postgresql+psycopg://user:password@host/name"
        )
    try:
        from revalid.producer.archive.copier import copy_finished
        from revalid.producer.archive.store import Archive
    except ModuleNotFoundError as error:
        raise InvalidSettings(
            f"{error.name} is not installed: pip install 'revalid[archive]'"
        ) from None
    database = Archive(settings.archive_url)
    with on_broker(settings) as (there, client):
        database.create()
        if once:
            added = sum(copy_finished(client, database))
            console().print(f"{added} jobs archived")
        else:
            console().print(Text(one_line(f"archive {database.where}; Ctrl-C ends it")))
            sys.stdout.flush()
            _follow(client, database, _alive(there.home))
    database.close()
    return 0


def _follow(client: Client, database: "Archive", alive: Path) -> None:
    """Copy until a signal comes; health checks read the age of the file ``alive``."""
    from revalid.producer.archive.copier import copy_finished

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: ended.set())
    wait_s = 0.0
    while not ended.wait(wait_s):
        wait_s = _POLL_S
        try:
            for _ in copy_finished(client, database):
                alive.touch()
                if ended.is_set():
                    return
            alive.touch()
        except TransientError as error:
            log.warning("%s", error)
            wait_s = _RETRY_S


def _alive(home: Path) -> Path:
    try:
        home.mkdir(parents=True, exist_ok=True)
        (file := home / "archived").touch()
    except OSError as error:
        raise InvalidSettings(
            f"REVALID_HOME {home}: {error.strerror}: set it to a directory you can write"
        ) from None
    return file
