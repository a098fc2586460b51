"""Has the pages of a started server opened in a browser, and reads what the browser saw."""

import asyncio
import json
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

from revalid.jobs.encoding import encodable
from revalid.jobs.errors import RevalidError
from revalid.jobs.result import PageReport, RenderReport
from revalid.worker import browser
from revalid.worker.file_trees import temporary_directory
from revalid.worker.sandboxes.limits import CommandLimits
from revalid.worker.sandboxes.protocol import BrowserMissing, Sandbox, StepFailed
from revalid.worker.secrets import Scrubber
from revalid.worker.serving import Server

_TIMEOUT_S = browser.TOTAL_S + 30.0
_OPEN_S = 120.0
"""Seconds for opening the browser's sandbox; its image may have to be pulled."""
_LIMITS = CommandLimits(memory_bytes=4 * 2**30, processes=512, disk_bytes=2**30)
_OUT = "pages"
_REPORT_BYTES = 2 * 2**20
_PNG_BYTES = 4 * 2**20
_ERRORS = 20
_WORDS = 300
_BASE64 = re.compile(r"[A-Za-z0-9+/]{4,40000}={0,2}")


class Rendering:
    """The browser for one started server; its sandbox opens while the server starts.

    Args:
        sandbox: The sandbox in which the server starts.
        artifacts: The directory of the job's exported files; created when first used.
        scratch: The parent of a temporary directory.
        name: The name of the directory below ``artifacts`` that gets the screenshots.
        required: Whether a problem fails the step.

    Attributes:
        report: What the browser saw; None if the server has no page or was not visited.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        artifacts: Path,
        scratch: Path,
        scrubber: Scrubber,
        *,
        name: str,
        required: bool,
    ) -> None:
        self._sandbox, self._artifacts, self._name = sandbox, artifacts, name
        self._scratch, self._scrubber, self._required = scratch, scrubber, required
        self.report: RenderReport | None = None

    async def __aenter__(self) -> Self:
        self._opening = asyncio.ensure_future(self._open())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opening.cancel()
        with suppress(
            asyncio.CancelledError, RevalidError, BrowserMissing, StepFailed, TimeoutError
        ):
            await (await self._opening).close()

    async def visit(self, server: Server) -> None:
        """Open the server's pages and set :attr:`report`."""
        started = monotonic()
        try:
            report = await self._visit(server)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            report = RenderReport(not_judged="the browser's report could not be read")
        except (BrowserMissing, RevalidError, StepFailed, OSError) as error:
            report = RenderReport(not_judged=self._text(str(error), 2 * _WORDS))
        except TimeoutError:
            report = RenderReport(not_judged=f"no browser was ready within {_OPEN_S:g} s")
        if report is not None:
            took = {"required": self._required, "duration_s": round(monotonic() - started, 2)}
            self.report = report.model_copy(update=took)

    async def _open(self) -> Sandbox:
        async with asyncio.timeout(_OPEN_S):
            opened = await self._sandbox.open_browser()
        try:
            script = await asyncio.to_thread(Path(browser.__file__).read_bytes)
            await opened.write_file("browser.py", script)
        except BaseException:
            await opened.close()
            raise
        return opened

    async def _visit(self, server: Server) -> RenderReport | None:
        opened = await asyncio.shield(self._opening)
        ports = f"{server.port},{server.page_port}" if server.page_port else server.port
        words = ["python3", "-I", "-S", "browser.py", _OUT, ports, *(server.gate or ())]
        command = shlex.join(map(str, words))
        ended = await opened.exec(command, timeout_s=_TIMEOUT_S, limits=_LIMITS)
        with temporary_directory("revalid-pages-", self._scratch) as directory:
            try:
                await opened.export_directory(_OUT, directory / _OUT)
            except StepFailed:
                said = ended.stderr.tail or ended.stderr.head
                last = said.decode(errors="replace").strip().splitlines()[-1:] or [
                    "it said nothing"
                ]
                return RenderReport(not_judged=self._text(f"the browser failed: {last[0]}"))
            return await asyncio.to_thread(self._read, directory / _OUT)

    def _read(self, directory: Path) -> RenderReport | None:
        """Read the browser's report, and keep its screenshots."""
        path = directory / "report.json"
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _REPORT_BYTES:
            return RenderReport(not_judged="the browser ended without a report")
        found = json.loads(path.read_text())
        failure = found.get("failure")
        if failure and not found.get("pages"):
            return RenderReport(not_judged=self._text(failure))
        pages = sorted(found.get("pages", ()), key=lambda page: (page["number"], page["width"]))
        if not pages:
            return None
        kept = tuple(self._page(page, directory) for page in pages[: 2 * browser.MAX_PAGES])
        problem, not_judged = None, self._text(failure) if failure else None
        for page, seen in reversed(list(zip(pages, kept, strict=False))):
            words = f"{seen.path} ({seen.width}): {seen.problem}"
            if seen.problem and page["outside"]:
                not_judged = words
            elif seen.problem and page["unreachable"]:
                where = self._text(page["unreachable"][0])
                not_judged = f"{words}; but {where} could not be reached"
            elif seen.problem:
                problem = words
        thumbnail = str(found.get("thumbnail", ""))
        return RenderReport(
            browser=self._text(str(found.get("browser", ""))),
            pages=kept,
            left_out=max(0, int(found.get("links", 0)) + 1 - len({page.path for page in kept})),
            problem=problem,
            not_judged=None if problem else not_judged,
            thumbnail=thumbnail if _BASE64.fullmatch(thumbnail) else "",
        )

    def _page(self, page: Mapping[str, Any], directory: Path) -> PageReport:
        if page["width"] not in browser.WIDTHS:
            raise ValueError(page["width"])
        name = f"{int(page['number'])}-{page['width']}.png"
        path = directory / name
        kept = None
        if page["screenshot"] == name and not path.is_symlink() and path.is_file():
            content = path.read_bytes() if path.stat().st_size <= _PNG_BYTES else b""
            if content.startswith(b"\x89PNG\r\n\x1a\n"):
                target = self._artifacts / self._name / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                kept = f"exported/{self._name}/{name}"
        problem = page["problem"]
        return PageReport(
            path=self._text(page["path"]),
            width=page["width"],
            title=self._text(page["title"]),
            status=page["status"],
            errors=tuple(self._text(words) for words in page["errors"][:_ERRORS]),
            problem=self._text(problem) if problem else None,
            screenshot=kept,
        )

    def _text(self, words: object, most: int = _WORDS) -> str:
        return self._scrubber.before_cut(encodable(str(words))[:most])
