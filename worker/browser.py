"""Opens the pages of a started server in Chromium; runs by itself, on nothing but Python 3.11.

revalid runs this file in the browser's sandbox. It writes a report and screenshots. What pages do
is hostile: their number, their words and the time for them are bounded, and a browser that does not
answer is killed.

Arguments: the directory for the results, the ports where pages may be, and for a server in another
container the address, port and token of the gate that leads to all its ports.
"""

import asyncio
import base64
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from time import monotonic
from typing import Any, Awaitable, Mapping  # noqa: UP035
from urllib.parse import urlsplit

WIDTHS = {"desktop": (1280, 800), "phone": (390, 844)}
MAX_PAGES = 5
TOTAL_S = 45.0
"""Seconds for all pages."""
_READY_S, _LOAD_S, _QUIET_S, _BUSY_S, _ANSWER_S, _BLANK_S = 15.0, 10.0, 0.4, 5.0, 12.0, 3.0
_MESSAGE = 64 * 2**20
"""Bytes of a message of the browser."""
_PNG, _THUMBNAIL = 4 * 2**20, 24 * 2**10
_ERRORS, _WORDS, _EVENTS, _REQUESTS = 20, 300, 1_000, 2_000
_PROGRAMS = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    *("chrome-headless-shell", "headless_shell"),
)
_LOOPBACK = re.compile(r"localhost|.*\.localhost|127\..*|0\.0\.0\.0|::1?|\[::1?\]")
_NO_PAGE = re.compile(
    r"\.(?!html?\b)\w{1,5}\Z|\b(?:log-?out|sign-?out|delete|remove)\b", re.IGNORECASE
)
_HARMLESS = re.compile(
    r"(?:Uncaught (?:\(in promise\) )?)?(?:ResizeObserver loop|AbortError|NotAllowedError)\b"
)
"""Exceptions in good pages, such as that of a video that may not start by itself."""
_FLAGS = (
    *("--headless", "--no-sandbox", "--remote-debugging-pipe", "--disable-dev-shm-usage"),
    *(
        "--enable-unsafe-swiftshader",
        "--hide-scrollbars",
        "--mute-audio",
        "--no-first-run",
        "--disable-breakpad",
    ),
    *("--no-default-browser-check", "--disable-extensions", "--disable-component-update"),
    *("--disable-background-networking", "--disable-sync", "--disable-default-apps"),
    *("--disable-popup-blocking", "--password-store=basic", "--use-mock-keychain"),
    *("--force-color-profile=srgb", "--disable-features=Translate,MediaRouter,HttpsUpgrades"),
)
_LOOK = """(() => {
  const body = document.body
  const seen = e => {
    const box = e.getBoundingClientRect(), style = getComputedStyle(e)
    return box.width > 1 && box.height > 1 && style.visibility !== "hidden" && style.opacity !== "0"
  }
  const shown = "img,svg,canvas,video,iframe,embed,object,input,select,textarea,button"
  const some = (names, fits) =>
    [...body.querySelectorAll(names)].slice(0, 2000).some(e => fits(e) && seen(e))
  const blank = !body || !(body.innerText.trim() || some(shown, () => true) ||
    some("*", e => e.shadowRoot || e.localName.includes("-")))
  const links = [...document.querySelectorAll("a[href]")].slice(0, 300)
    .filter(a => typeof a.href === "string" && a.href.length < 500 && !a.hasAttribute("download"))
  return JSON.stringify({ blank, title: document.title.slice(0, 200),
    url: location.href.slice(0, 500), links: links.map(a => a.href) })
})()"""


BROWSER = "CHROMIUM_PATH"
"""The variable that names the browser's program, where it was found before."""


def find_browser(environ: Mapping[str, str]) -> str | None:
    """Return the path of a Chromium: one of Playwright's, else one on ``PATH``; None without."""
    if environ.get(BROWSER):
        return environ[BROWSER]
    home = environ.get("PLAYWRIGHT_BROWSERS_PATH") or "~/.cache/ms-playwright"
    for name in ("chromium_headless_shell-*/*/*shell", "chromium-*/*/chrome"):
        if programs := [path for path in Path(home).expanduser().glob(name) if path.is_file()]:
            return str(max(programs))
    path = environ.get("PATH")
    return next((found for name in _PROGRAMS if (found := shutil.which(name, path=path))), None)


class BrowserGone(Exception):
    """The browser ended, or sent what it may not."""


class Route:
    """The way to the server: direct, or through the gate of its container."""

    def __init__(self, gate: tuple[str, int, str] | None) -> None:
        self._gate = gate
        self.flags: tuple[str, ...] = ()

    async def connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, Any]:
        """Connect to a host as the server's own container would."""
        if self._gate is None or not _LOOPBACK.fullmatch(host):
            return await asyncio.open_connection(host, port)
        reader, writer = await asyncio.open_connection(*self._gate[:2])
        writer.write(f"{self._gate[2]} {port}\n".encode())
        return reader, writer

    async def open(self) -> None:
        """Give the browser this way: a SOCKS proxy, where it needs one."""
        if self._gate is not None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            self.flags = (
                f"--proxy-server=socks5://127.0.0.1:{port}",
                "--proxy-bypass-list=<-loopback>",
            )

    async def find_pages(self, ports: list[int]) -> int | None:
        """Return the first port whose ``/`` is a page; None if there is none.

        Raises:
            TimeoutError: One of them does not answer.
        """
        for port in ports:
            head = await asyncio.wait_for(self._head(port), _READY_S)
            words = head.split(b"\n", 1)[0].split()
            found = len(words) > 1 and words[1][:1] in (b"2", b"3")
            moved = found and words[1][:1] == b"3"
            if found and (
                moved or re.search(rb"\ncontent-type:[ \t]*(text/html|app\S*xhtml)", head)
            ):
                return port
        return None

    async def _head(self, port: int) -> bytes:
        """Return the start of the answer to a request for ``/``, in lower case."""
        request = (
            f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n"
            "Accept: text/html,*/*;q=0.8\r\n\r\n"
        )
        while True:
            head, writer = b"", None
            with contextlib.suppress(OSError, asyncio.LimitOverrunError):
                reader, writer = await self.connect("localhost", port)
                writer.write(request.encode())
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.IncompleteReadError as error:
                    head = error.partial
            if writer is not None:
                writer.close()
            if head:
                return head.lower()
            await asyncio.sleep(0.1)

    async def _serve(self, reader: asyncio.StreamReader, writer: Any) -> None:
        other = None
        try:
            await reader.readexactly((await reader.readexactly(2))[1])
            writer.write(b"\x05\x00")
            _, _, _, kind = await reader.readexactly(4)
            if kind == 3:
                host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
            elif kind == 1:
                host = ".".join(map(str, await reader.readexactly(4)))
            else:
                words = struct.unpack("!8H", await reader.readexactly(16))
                host = "::1" if words[:7] == (0,) * 7 else ":".join(f"{word:x}" for word in words)
            (port,) = struct.unpack("!H", await reader.readexactly(2))
            try:
                other_reader, other = await self.connect(host, port)
            except OSError:
                writer.write(b"\x05\x04\x00\x01" + bytes(6))
                return
            writer.write(b"\x05\x00\x00\x01" + bytes(6))
            await asyncio.gather(_copy(reader, other), _copy(other_reader, writer))
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            for end in (writer, other):
                if end is not None:
                    end.close()


async def _copy(reader: asyncio.StreamReader, writer: Any) -> None:
    with contextlib.suppress(OSError):
        while True:
            data = await reader.read(1 << 16)
            if not data:
                break
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()


class Browser:
    """A Chromium that is controlled through a pipe: no other process can control it."""

    def __init__(self) -> None:
        self._calls: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._process: Any = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self.pages: dict[str, Page] = {}
        self.gone = False

    async def open(self, program: str, flags: tuple[str, ...]) -> None:
        """Start it."""
        directory = tempfile.mkdtemp()
        # Chromium makes a socket in TMPDIR, and the path of a socket has at most 107 bytes.
        temporary = "/proc/self/cwd" if sys.platform == "linux" else directory
        commands, events = os.pipe(), os.pipe()
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (*commands, *events)]

        def take_ends() -> None:  # Chromium reads commands from 3 and writes to 4
            os.dup2(ends[0], 3)
            os.dup2(ends[3], 4)

        self._process = subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond
            [program, *_FLAGS, f"--user-data-dir={directory}", *flags, "about:blank"],
            cwd=directory,
            env={**os.environ, "TMPDIR": temporary},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            close_fds=False,
            preexec_fn=take_ends,
            start_new_session=True,
        )
        for end in (*commands, *events, ends[0], ends[3]):
            os.close(end)
        self._commands = os.fdopen(ends[1], "wb", buffering=0)
        self._events = asyncio.StreamReader(limit=_MESSAGE)
        protocol = asyncio.StreamReaderProtocol(self._events)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: protocol, os.fdopen(ends[2], "rb", buffering=0))
        self._reading = asyncio.ensure_future(self._read())

    async def call(
        self, method: str, params: Mapping[str, Any] | None = None, session: str = ""
    ) -> dict[str, Any]:
        """Send a command; return its answer.

        Raises:
            BrowserGone: It ended.
            asyncio.TimeoutError: It did not answer in time.
            LookupError: It refused; the words say why.
        """
        if self.gone:
            raise BrowserGone
        number = len(self._calls) + 1
        message: dict[str, Any] = {"id": number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        answer = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            self._commands.write(json.dumps(message).encode() + b"\0")
        except OSError:
            raise BrowserGone from None
        found = await asyncio.wait_for(answer, _ANSWER_S)
        if "error" in found:
            raise LookupError(str(found["error"].get("message"))[:_WORDS])
        result: dict[str, Any] = found.get("result", {})
        return result

    async def _read(self) -> None:
        try:
            while True:
                message = json.loads((await self._events.readuntil(b"\0"))[:-1])
                if "id" in message:
                    call = self._calls.get(message["id"])
                    if call is not None and not call.done():
                        call.set_result(message)
                elif message.get("sessionId") in self.pages:
                    page = self.pages[message["sessionId"]]
                    page.see(message["method"], message.get("params", {}))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, OSError):
            self.gone = True
            for call in self._calls.values():
                if not call.done():
                    call.set_exception(BrowserGone())
                    call.exception()

    def last_words(self) -> str:
        """Return the end of what it wrote to its log."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - _WORDS))
        return " | ".join(self._log.read().decode(errors="replace").splitlines()[-2:])

    def kill(self) -> None:
        """End it with all its processes."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Page:
    """A page while it is open, and what happened on it."""

    def __init__(self, browser: Browser, session: str, frame: str, url: str) -> None:
        self._browser, self._session, self._frame = browser, session, frame
        self._origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        self._open: set[str] = set()
        self._urls: dict[str, str] = {}
        self._events = 0
        self.errors: list[str] = []
        self.exceptions: list[str] = []
        self.unreachable: list[str] = []
        self.status: int | None = None
        self.mime = ""
        self.crashed = False
        self._loaded_at = self._changed_at = 0.0

    def call(
        self, method: str, params: Mapping[str, Any] | None = None
    ) -> Awaitable[dict[str, Any]]:
        """Send a command about this page."""
        return self._browser.call(method, params, self._session)

    def see(self, method: str, params: dict[str, Any]) -> None:
        """Take an event of the browser."""
        name = method.partition(".")[2]
        seen = getattr(self, f"_on_{name}", None)
        if seen is not None:
            seen(params)

    def _on_requestWillBeSent(self, params: dict[str, Any]) -> None:
        kind = params.get("type")
        if kind not in ("WebSocket", "EventSource") and len(self._urls) < _REQUESTS:
            self._open.add(params["requestId"])
            self._urls[params["requestId"]] = str(params["request"]["url"])[:_WORDS]
            self._changed_at = monotonic()

    def _on_responseReceived(self, params: dict[str, Any]) -> None:
        response = params["response"]
        status = int(response.get("status", 0))
        if params.get("type") == "Document" and params.get("frameId") == self._frame:
            self.status, self.mime = status, str(response.get("mimeType", ""))[:100]
        elif status >= 400:
            self._fail(str(response.get("url"))[:_WORDS], str(status))

    def _on_loadingFinished(self, params: dict[str, Any]) -> None:
        self._open.discard(params["requestId"])
        self._changed_at = monotonic()

    def _on_loadingFailed(self, params: dict[str, Any]) -> None:
        self._on_loadingFinished(params)
        url = self._urls.get(params["requestId"], "")
        if url and not params.get("canceled"):
            words = str(params.get("blockedReason") or params.get("errorText"))[:_WORDS]
            self._fail(url, words)
            host = urlsplit(url).hostname or "localhost"
            if words.startswith("net::") and not _LOOPBACK.fullmatch(host):
                self.unreachable.append(url)

    def _on_loadEventFired(self, params: dict[str, Any]) -> None:
        self._loaded_at = self._changed_at = monotonic()

    def _on_targetCrashed(self, params: dict[str, Any]) -> None:
        self.crashed = True

    def _on_javascriptDialogOpening(self, params: dict[str, Any]) -> None:
        _send(self.call("Page.handleJavaScriptDialog", {"accept": False}))

    def _on_exceptionThrown(self, params: dict[str, Any]) -> None:
        if self._too_many():
            return
        details = params["exceptionDetails"]
        thrown = details.get("exception", {})
        words = str(thrown.get("description") or thrown.get("value") or "")[: 4 * _WORDS]
        line = _line(words or str(details.get("text")))
        frames = details.get("stackTrace", {}).get("callFrames", [])
        urls = [str(frame.get("url")) for frame in frames] or [str(details.get("url") or "")]
        if all(url.startswith("http") and not url.startswith(self._origin) for url in urls):
            self._add(self.errors, f"uncaught in {urls[0][:_WORDS]}: {line}")
        elif _HARMLESS.match(line):
            self._add(self.errors, f"uncaught {line}")
        else:
            self._add(self.exceptions, line)

    def _on_consoleAPICalled(self, params: dict[str, Any]) -> None:
        if params.get("type") in ("error", "assert") and not self._too_many():
            values = [arg.get("value", arg.get("description", "")) for arg in params["args"][:10]]
            words = " ".join(str(value)[:_WORDS] for value in values)
            self._add(self.errors, f"console: {_line(words)}")

    def _on_entryAdded(self, params: dict[str, Any]) -> None:
        entry = params["entry"]
        if entry.get("level") == "error" and entry.get("source") not in ("network", "javascript"):
            self._add(self.errors, f"console: {_line(str(entry.get('text')))}")

    def _fail(self, url: str, words: str) -> None:
        if urlsplit(url).path != "/favicon.ico":  # the browser asks for it by itself
            shown = url[len(self._origin) :] if url.startswith(f"{self._origin}/") else url
            self._add(self.errors, f"request {_line(shown)}: {words}")

    def _add(self, to: list[str], words: str) -> None:
        if len(to) < _ERRORS and words not in to:
            to.append(words)

    def _too_many(self) -> bool:
        self._events += 1
        if self._events == _EVENTS:
            _send(self.call("Runtime.disable"))
        return self._events > _EVENTS

    async def settle(self) -> None:
        """Wait until the page has loaded and is quiet, within bounds."""
        end = monotonic() + _LOAD_S
        while monotonic() < end and not self.crashed:
            now = monotonic()
            quiet = not self._open and now - self._changed_at > _QUIET_S
            if self._loaded_at and (quiet or now - self._loaded_at > _BUSY_S):
                return
            await asyncio.sleep(0.05)
        if not self.crashed:
            self._add(self.errors, f"still loading after {_LOAD_S:g} s")

    async def look(self) -> dict[str, Any]:
        """Return title, address and links, and whether nothing is to be seen.

        The page's own scripts cannot change the functions that are used here.
        """
        for remaining in (2, 1, 0):
            try:
                world = await self.call("Page.createIsolatedWorld", {"frameId": self._frame})
                where = {"contextId": world["executionContextId"], "returnByValue": True}
                found = await self.call("Runtime.evaluate", {"expression": _LOOK, **where})
                looked: dict[str, Any] = json.loads(found["result"]["value"])
                return looked
            except (LookupError, ValueError):  # it went to another page meanwhile
                if not remaining:
                    raise
                await asyncio.sleep(0.3)
        raise AssertionError

    async def picture(self, **options: Any) -> bytes:
        """Return a picture of what is to be seen now."""
        return base64.b64decode((await self.call("Page.captureScreenshot", options))["data"])


class Visit:
    """The visit of one server."""

    def __init__(self, browser: Browser, port: int, out: Path) -> None:
        self._browser, self._out = browser, out
        self._origin = f"http://localhost:{port}"
        self.report: dict[str, Any] = {"pages": [], "links": 0}
        self._links: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Open the pages at both widths, side by side."""
        try:
            await asyncio.gather(*(self._run(name) for name in WIDTHS))
        finally:
            if not self._links.done():
                self._links.cancel()

    async def _run(self, width: str) -> None:
        context = (await self._browser.call("Target.createBrowserContext"))["browserContextId"]
        denied = {"behavior": "deny", "browserContextId": context}
        await self._browser.call("Browser.setDownloadBehavior", denied)
        first = await self._open(context, width, "/", 1)
        if width == "desktop":
            self._links.set_result(self._chosen(first))
        for number, path in enumerate(await self._links, 2):
            await self._open(context, width, path, number)

    def _chosen(self, links: list[str]) -> list[str]:
        """Return the paths to open: links of the same origin, in their order."""
        found: dict[str, None] = {}
        for link in links:
            parts = urlsplit(link)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            path += f"#{parts.fragment}" if parts.fragment[:1] in ("/", "!") else ""
            same = f"{parts.scheme}://{parts.netloc}" == self._origin
            if same and path != "/" and not _NO_PAGE.search(path):
                found[path] = None
        self.report["links"] = len(found)
        return list(found)[: MAX_PAGES - 1]

    async def _open(self, context: str, width: str, path: str, number: int) -> list[str]:
        """Open one page; return the links on it."""
        made = {"url": "about:blank", "browserContextId": context}
        target = (await self._browser.call("Target.createTarget", made))["targetId"]
        attached = {"targetId": target, "flatten": True}
        session = (await self._browser.call("Target.attachToTarget", attached))["sessionId"]
        page = self._browser.pages[session] = Page(self._browser, session, target, self._origin)
        found: dict[str, Any] = {"path": path, "width": width, "title": ""}
        found.update(screenshot=None, outside=False)
        links: list[str] = []
        try:
            problem = await self._see(page, found, path, number, links)
        except TimeoutError:
            problem = f"it does not respond: no answer within {_ANSWER_S:g} s"
        except LookupError as error:
            problem = f"it could not be judged: {error}"
        finally:
            del self._browser.pages[session]
            _send(self._browser.call("Target.closeTarget", {"targetId": target}))
        is_page = page.mime in ("text/html", "application/xhtml+xml") or (problem and not page.mime)
        if is_page:
            errors = [f"uncaught {words}" for words in page.exceptions] + page.errors
            found.update(status=page.status, problem=problem, errors=errors[:_ERRORS])
            found.update(unreachable=page.unreachable[:_ERRORS], number=number)
            self.report["pages"].append(found)
        return links

    async def _see(
        self, page: Page, found: dict[str, Any], path: str, number: int, links: list[str]
    ) -> str | None:
        """Load a page and take its picture; return what is wrong with it."""
        width, height = WIDTHS[found["width"]]
        phone = found["width"] == "phone"
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        for domain in ("Page", "Runtime", "Network", "Log", "Inspector"):
            await page.call(f"{domain}.enable")
        await page.call("Emulation.setDeviceMetricsOverride", metrics)
        if phone:
            await page.call("Emulation.setTouchEmulationEnabled", {"enabled": True})
        went = await page.call("Page.navigate", {"url": self._origin + path})
        if went.get("errorText"):
            return None if went["errorText"] == "net::ERR_ABORTED" else str(went["errorText"])
        await page.settle()
        if page.crashed:
            return "it crashed"
        looked = await page.look()
        end = monotonic() + _BLANK_S
        while looked["blank"] and monotonic() < end:
            await asyncio.sleep(0.2)
            looked = await page.look()
        if not looked["url"].startswith(f"{self._origin}/"):
            outside = page.unreachable[-1] if page.unreachable else looked["url"]
            found["outside"] = True
            return f"it left for {outside}"
        found["title"] = looked["title"]
        links += looked["links"]
        await page.call("Page.bringToFront")
        png = await page.picture(format="png")
        blank = looked["blank"] or is_one_colour(png)
        if len(png) <= _PNG:
            found["screenshot"] = f"{number}-{found['width']}.png"
            self._out.joinpath(found["screenshot"]).write_bytes(png)
        if number == 1 and not phone:
            clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 0.25}
            small = await page.picture(format="jpeg", quality=60, clip=clip)
            if len(small) <= _THUMBNAIL:
                self.report["thumbnail"] = base64.b64encode(small).decode()
        if page.crashed:
            return "it crashed"
        if (page.status or 0) >= 500:
            return f"it answered {page.status}"
        if page.exceptions:
            return f"uncaught {page.exceptions[0]}"
        return "it is blank" if blank else None


def _send(call: Awaitable[object]) -> None:
    """Send a command whose answer does not matter."""
    sent = asyncio.ensure_future(call)
    sent.add_done_callback(lambda done: done.cancelled() or done.exception())


def _line(words: str) -> str:
    """Return the first line of what a page says, cut."""
    lines = words.strip().splitlines() or [""]
    return lines[0][:_WORDS]


def is_one_colour(png: bytes) -> bool:
    """Return whether all pixels of a picture are equal; of one that cannot be read, False."""
    place, data, header = 8, [], b""
    while place + 8 <= len(png):
        (length,) = struct.unpack("!I", png[place : place + 4])
        chunk = png[place + 8 : place + 8 + length]
        if png[place + 4 : place + 8] == b"IHDR":
            header = chunk
        elif png[place + 4 : place + 8] == b"IDAT":
            data.append(chunk)
        place += length + 12
    if len(header) != 13 or header[8] != 8 or header[9] not in (2, 6) or header[12]:
        return False
    width, height = struct.unpack("!II", header[:8])
    size = 3 if header[9] == 2 else 4
    stride = width * size + 1
    try:
        rows = zlib.decompressobj().decompress(b"".join(data), stride * height)
    except zlib.error:
        return False
    colour = rows[1 : size + 1]  # the first pixel has nothing before it: every filter keeps it
    rest = bytes(stride - 1 - size)
    halves = bytes(value - value // 2 for value in colour)
    left = {0: colour * width, 1: colour + rest, 3: colour + halves * (width - 1), 4: colour + rest}
    left[2] = left[0]
    above = {0: colour * width, 1: colour + rest, 2: bytes(stride - 1), 4: bytes(stride - 1)}
    above[3] = halves + rest
    for number in range(height):
        row = rows[number * stride : (number + 1) * stride]
        expected = (above if number else left).get(row[0] if row else -1)
        if row[1:] != expected:
            return False
    return True


async def _main(out: Path, ports: list[int], gate: tuple[str, int, str] | None) -> dict[str, Any]:
    program = find_browser(os.environ)
    if program is None:
        return {"failure": "it has no Chromium"}
    route, browser = Route(gate), Browser()
    try:
        port = await route.find_pages(ports)
    except TimeoutError:
        return {"failure": f"port {ports[-1]} gave no answer within {_READY_S:g} s"}
    if port is None:
        return {}
    await route.open()
    flags = (f"--explicitly-allowed-ports={port}", *route.flags)
    try:
        await browser.open(program, flags)
        version = await browser.call("Browser.getVersion")
    except (TimeoutError, OSError, BrowserGone):
        browser.kill()
        return {"failure": f"{program} does not start: {browser.last_words()}"}
    visit = Visit(browser, port, out)
    visit.report["browser"] = str(version.get("product"))[:100]
    try:
        await asyncio.wait_for(visit.run(), TOTAL_S)
    except TimeoutError:
        visit.report["failure"] = f"the browser was killed: not done within {TOTAL_S:g} s"
    except (BrowserGone, LookupError):
        visit.report["failure"] = "the browser ended by itself"
    finally:
        browser.kill()
    return visit.report


def main(out: str, ports: str, *gate: str) -> None:
    """Visit the server and write the report."""
    directory = Path(out)
    directory.mkdir()
    way = (gate[0], int(gate[1]), gate[2]) if gate else None
    report = asyncio.run(_main(directory, [int(port) for port in ports.split(",")], way))
    directory.joinpath("report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
