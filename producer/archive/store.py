"""The archive's database."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import SecretStr
from sqlalchemy import URL, Connection, create_engine, event, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from revalid.jobs.errors import ArchiveUnavailable, InvalidSettings
from revalid.jobs.ledger.completions import Completion
from revalid.producer.archive.schema import FACTS, JOBS, METADATA, SCHEMA_VERSION, STEPS, Row

_INSERTS: dict[str, Callable[..., Any]] = {
    "postgresql+psycopg": postgresql.insert,
    "sqlite": sqlite.insert,
}
# By default, libpq waits minutes for a connection, and hours for a reply.
_BOUNDS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}


class Archive:
    """The database of an archive.

    Attributes:
        where: Its URL without user and password.
    """

    def __init__(self, url: SecretStr) -> None:
        """Configure the database; the first use connects.

        Raises:
            InvalidSettings: It is not a PostgreSQL or SQLite URL, or the driver is missing.
        """
        parsed = _parsed(url.get_secret_value())
        named = URL.create(parsed.drivername, None, None, parsed.host, parsed.port, parsed.database)
        self.where = named.render_as_string()
        self._insert = _INSERTS[parsed.drivername]
        lite = parsed.drivername == "sqlite"
        if not lite:
            parsed = parsed.set(query={**_BOUNDS, **parsed.query})
        try:
            self._engine = create_engine(parsed, hide_parameters=True, pool_pre_ping=True)
        except ImportError as error:
            raise InvalidSettings(
                f"REVALID_ARCHIVE_URL {self.where}: {error}: pip install 'revalid[archive]'"
            ) from None
        if lite:
            event.listen(self._engine, "connect", _watch_foreign_keys)

    def create(self) -> None:
        """Create missing tables.

        Raises:
            ArchiveUnavailable: The database cannot be reached, or refuses.
            InvalidSettings: The tables are of another version of revalid.
        """
        with self._begin() as connection:
            METADATA.create_all(connection)
            insert = self._insert(FACTS).on_conflict_do_nothing()
            connection.execute(insert, {"name": "schema_version", "value": SCHEMA_VERSION})
            schema_version = self._fact(connection, "schema_version")
        if schema_version != SCHEMA_VERSION:
            raise InvalidSettings(
                f"REVALID_ARCHIVE_URL {self.where}: its tables have version {schema_version}, and "
                f"this revalid writes {SCHEMA_VERSION}: use another database, or the revalid that "
                "created it"
            )

    def last(self) -> Completion | None:
        """Return the last completion that :meth:`add` recorded.

        Raises:
            ArchiveUnavailable: The database cannot be reached, or refuses.
        """
        with self._begin() as connection:
            position = self._fact(connection, "last")
        return Completion(*position.split()) if position else None

    def add(self, jobs: Sequence[Row], steps: Sequence[Row], last: Completion) -> int:
        """Add missing rows and record the position ``last``, in one transaction.

        Returns:
            The number of new jobs.

        Raises:
            ArchiveUnavailable: The database cannot be reached, or refuses.
        """
        added = 0
        note = self._insert(FACTS).values(name="last", value=f"{last.entry} {last.job_id}")
        note = note.on_conflict_do_update(
            index_elements=[FACTS.c.name], set_={"value": note.excluded.value}
        )
        with self._begin() as connection:
            if jobs:
                insert = self._insert(JOBS).on_conflict_do_nothing().returning(JOBS.c.id)
                added = len(connection.execute(insert, jobs).all())
            if steps:
                connection.execute(self._insert(STEPS).on_conflict_do_nothing(), steps)
            connection.execute(note)
        return added

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def _fact(self, connection: Connection, name: str) -> str | None:
        return connection.scalar(select(FACTS.c.value).where(FACTS.c.name == name))

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            why = " ".join(str(getattr(error, "orig", None) or error).split())
            raise ArchiveUnavailable(
                f"archive {self.where}: {why}; repair the database, or correct REVALID_ARCHIVE_URL"
            ) from None


def _parsed(url: str) -> URL:
    """Parse the URL; the original error is hidden, since it may quote the password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if (
        parsed is None
        or parsed.drivername not in _INSERTS
        or (
            parsed.host and url.count("@") > 1
        )  # otherwise part of a password could be taken for the host
    ):
        raise InvalidSettings(
            "REVALID_ARCHIVE_URL is not a PostgreSQL or SQLite URL: use "
            "postgresql+psycopg://user:password@host/name or sqlite:////path, and write special "
            "characters of a password as %XX"
        )
    return parsed


def _watch_foreign_keys(connection: Any, _record: object) -> None:
    """Turn on foreign keys, so that SQLite deletes a job's steps with it."""
    connection.execute("PRAGMA foreign_keys = ON")
