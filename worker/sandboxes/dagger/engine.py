"""This process's connection to a Dagger engine: opened when needed, bounded, reopened when lost.

This module starts the CLI's session process itself and hands it to the SDK through the SDK's own
environment variables. The SDK alone would wait forever for an engine that is gone, and leave the
process behind.
"""

import asyncio
import contextlib
import json
import os
import re
import shutil
import tempfile
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextvars import Context
from time import monotonic
from typing import IO, TypeVar

import dagger
from dagger.provisioning._download import Downloader

from revalid.jobs.errors import EngineUnavailable, InvalidJob, SandboxLost
from revalid.jobs.ledger.record import IMAGE_S
from revalid.jobs.settings import TOOLS_IMAGE
from revalid.worker.sandboxes.dagger.cli_session import (
    CLOSE_TIMEOUT_S,
    bounded,
    die_with_parent,
    end_session,
)
from revalid.worker.sandboxes.dagger.containers import (
    NO_SHELL,
    ORDINARY,
    Account,
    prepare_container,
    tools_directory,
)
from revalid.worker.sandboxes.dagger.live_output import LogReceiver

T = TypeVar("T")

DOWNLOAD_TIMEOUT_S = 60.0
PING_EVERY_S = 5.0
PING_TIMEOUT_S = 15.0
RESOLVE_EVERY_S = IMAGE_S
RESOLVE_TIMEOUT_S = 10.0
_SESSION = ("DAGGER_SESSION_PORT", "DAGGER_SESSION_TOKEN")
_UNKNOWN_IMAGE = (": not found", "pull access denied", "insufficient_scope", "manifest unknown")
_FIX = (
    "start a Dagger engine, name one by _EXPERIMENTAL_DAGGER_RUNNER_HOST, "
    "or allow --sandbox local; `revalid doctor` checks it"
)


class Engine:
    """A lazily opened connection. All methods belong to one event loop.

    Args:
        timeout_s: Seconds that connecting may take.
        on_resolved: Called in a thread with an image and the digest of its tag; must not raise.
        name_key: The key that secrets' names on the engine are derived with; by default one of this
            process alone.
        tools_image: The image of the tools that revalid itself runs in a container: a static
            busybox.
    """

    def __init__(
        self,
        *,
        timeout_s: float,
        on_resolved: Callable[[str, str], object] = lambda *_: None,
        name_key: bytes | None = None,
        tools_image: str = TOOLS_IMAGE,
    ) -> None:
        self.name_key = name_key or os.urandom(32)
        self._timeout_s = timeout_s
        self._on_resolved = on_resolved
        self.tools_image = tools_image
        self._lock = asyncio.Lock()
        self._client: dagger.Client | None = None
        self._stack = contextlib.AsyncExitStack()
        self._session: Process | None = None
        self.live = LogReceiver()
        self._log: IO[bytes] | None = None
        self._lost = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._pinned: dict[str, tuple[str, float]] = {}  # reference, and when it was resolved
        self._bases: dict[tuple[str, Account], dagger.Container] = {}
        self._tools: dagger.Directory | None = None
        self.sessions_lost = 0

    async def client(self) -> dagger.Client:
        """Return the client of a live connection; connect first if there is none.

        Raises:
            EngineUnavailable: No engine answers within the bound; the message says what to do.
        """
        async with self._lock:
            if self._client is not None and not self._lost.is_set():
                return self._client
            self.sessions_lost += self._client is not None
            await self._close()
            try:
                cli = None if _SESSION[0] in os.environ else await _cli()
                async with asyncio.timeout(self._timeout_s):
                    self._client = await self._open(cli)
            except TimeoutError:
                await self._close()
                raise EngineUnavailable(
                    f"no Dagger engine answered within {self._timeout_s:g} s: {_FIX}"
                ) from None
            except (dagger.DaggerError, OSError, ValueError) as error:
                detail = self._last_line()
                await self._close()
                raise EngineUnavailable(
                    f"no Dagger engine: {detail or one_line(error)}; {_FIX}"
                ) from None
            except BaseException:
                await self._close()
                raise
            self._watch = Context().run(asyncio.create_task, self._watch_session(self._client))
            return self._client

    async def pin(self, image: str, *, again: bool = False) -> str:
        """Return the image's reference with its digest.

        A tag is resolved again every :data:`RESOLVE_EVERY_S` seconds. While the registry does not
        answer, its last answer stands.

        Args:
            again: Resolve the tag now.

        Raises:
            EngineUnavailable: No engine answers.
            InvalidJob: The registry does not know the image.
            SandboxLost: The registry or the engine failed.
        """
        client = await self.client()
        pinned, pinned_at = self._pinned.get(image, (None, 0.0))
        bound = 0.0 if again else RESOLVE_EVERY_S
        if pinned is not None and ("@" in image or monotonic() - pinned_at < bound):
            return pinned
        # A session caches the answer to a query; the label makes each query a new one.
        query = client.container().with_label("revalid", uuid.uuid4().hex).from_(image)
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S if pinned else None):
                resolved = await self.call(query.image_ref())
        except (dagger.QueryError, TimeoutError) as error:
            if any(sign in str(error) for sign in _UNKNOWN_IMAGE):
                raise InvalidJob(
                    f"image {image!r} is not known to its registry: correct --image"
                ) from None
            if pinned is None:
                raise SandboxLost(
                    f"image {image!r} could not be pulled ({one_line(error)}): "
                    "check the registry and the engine's network"
                ) from None
            self._pinned[image] = (pinned, monotonic())
            return pinned
        if pinned not in (None, resolved):
            self._bases = {key: base for key, base in self._bases.items() if key[0] != pinned}
        self._pinned[image] = self._pinned[resolved] = (resolved, monotonic())
        await asyncio.to_thread(self._on_resolved, image, resolved.partition("@")[2])
        return resolved

    async def base(self, image: str, account: Account = ORDINARY) -> dagger.Container:
        """Return a container of the image with an empty workdir and a home.

        It is made once per connection.

        Raises:
            JobError: As :meth:`pin`. InvalidJob also if the image has no shell.
        """
        client = await self.client()
        pinned = await self.pin(image)
        if (pinned, account) not in self._bases:
            pulled, own = client.container().from_(pinned), await self._own_tools(client)
            try:
                path = await self.call(pulled.env_variable("PATH"))
                base = await self.call(prepare_container(pulled, path, own, account).sync())
            except dagger.ExecError as error:
                if error.exit_code == NO_SHELL:
                    raise InvalidJob(
                        f"image {image!r} has no /bin/sh: use an image with a shell"
                    ) from None
                raise SandboxLost(
                    f"image {image!r} could not be prepared: {one_line(error)}, {error.stderr}"
                ) from None
            self._bases[pinned, account] = base
        return self._bases[pinned, account]

    async def _own_tools(self, client: dagger.Client) -> dagger.Directory:
        if self._tools is None:
            directory = tools_directory(client.container().from_(self.tools_image))
            try:
                self._tools = await self.call(directory.sync())
            except dagger.QueryError as error:
                detail = error.stderr if isinstance(error, dagger.ExecError) else one_line(error)
                raise SandboxLost(
                    f"REVALID_TOOLS_IMAGE {self.tools_image}: no static busybox in it ({detail}); "
                    f"name an image that the engine can pull, such as {TOOLS_IMAGE}"
                ) from None
        return self._tools

    async def check_health(self, image: str) -> None:
        """Run a trivial command in a container of the image.

        Raises:
            JobError: As :meth:`base`. SandboxLost also if the command does not run.
        """
        base = await self.base(image)
        try:
            command = ["/bin/sh", "-c", ":", uuid.uuid4().hex]
            await self.call(base.with_exec(command, no_init=True).sync())
        except dagger.QueryError as error:
            raise SandboxLost(
                f"the Dagger engine does not run commands ({one_line(error)}): read its log"
            ) from None

    async def call(self, work: Awaitable[T]) -> T:
        """Await an engine call, but no longer than the connection lives.

        The SDK alone would retry for 15 s or more after its session died.

        Raises:
            SandboxLost: The connection was lost, or the engine itself failed.
            dagger.QueryError: The engine answered with an error about this query.
        """
        task = asyncio.ensure_future(work)
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({task, lost}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return await task
            raise SandboxLost("the Dagger engine went away during a call: try the job again")
        except (dagger.QueryError, SandboxLost):
            raise
        except Exception as error:
            self._lost.set()
            raise SandboxLost(
                f"the Dagger engine's connection broke ({one_line(error)}): try the job again"
            ) from None
        finally:
            lost.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_S)

    async def close(self) -> None:
        """Close the connection and end the session process, by force after a bound."""
        async with self._lock:
            await self._close()

    async def _open(self, cli: str | None) -> dagger.Client:
        self._lost.clear()
        if cli is None:
            return await self._stack.enter_async_context(_connection())
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._session = await asyncio.create_subprocess_exec(
            cli,
            "--silent",  # otherwise the process keeps all output and spans for its log
            "session",
            "--label",
            "dagger.io/sdk.name:python",
            stdin=PIPE,
            stdout=PIPE,
            stderr=self._log,
            env=os.environ | await self.live.open(),
            preexec_fn=die_with_parent,
        )
        assert self._session.stdout is not None  # noqa: S101
        answer = await self._session.stdout.readline()
        if not answer:
            await self._session.wait()
            raise ValueError("its session process ended")
        session = json.loads(answer)
        os.environ.update(
            zip(_SESSION, map(str, (session["port"], session["session_token"])), strict=True)
        )
        try:
            return await self._stack.enter_async_context(_connection())
        finally:
            for name in _SESSION:
                os.environ.pop(name, None)

    async def _watch_session(self, client: dagger.Client) -> None:
        over: Awaitable[object] = self._session.wait() if self._session else asyncio.Future()
        ended = asyncio.ensure_future(over)
        try:
            while not (await asyncio.wait({ended}, timeout=PING_EVERY_S))[0]:
                await asyncio.wait_for(client.default_platform(), PING_TIMEOUT_S)
        except Exception:  # noqa: S110
            pass  # any error means that the engine does not answer
        finally:
            ended.cancel()
        self._lost.set()

    async def _close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        alive = not self._lost.is_set()
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        if alive:
            await bounded(stack.aclose(), CLOSE_TIMEOUT_S)
        session, self._session = self._session, None
        if session is not None:
            await end_session(session, CLOSE_TIMEOUT_S if alive and self._client else 0.0)
        await self.live.close()
        if self._log is not None:
            self._log.close()
        self._log = self._client = self._watch = self._tools = None
        self._pinned.clear()
        self._bases.clear()

    def _last_line(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def one_line(error: BaseException) -> str:
    """Return the first line of an error's message without trace ids, or the error's name."""
    text = re.sub(r" \[traceparent:[0-9a-f-]+\]", "", str(error).strip().partition("\n")[0])
    return text[:300] or type(error).__name__


def _connection() -> dagger.Connection:
    return dagger.Connection(dagger.Config(retry=None))


async def _cli() -> str:
    if path := os.environ.get("_EXPERIMENTAL_DAGGER_CLI_BIN"):
        if shutil.which(path) is None:
            raise ValueError(f"_EXPERIMENTAL_DAGGER_CLI_BIN {path!r} is not a program")
        return path
    try:
        return await asyncio.wait_for(Downloader(), DOWNLOAD_TIMEOUT_S)
    except TimeoutError:
        raise ValueError(f"its CLI was not downloaded within {DOWNLOAD_TIMEOUT_S:g} s") from None
