"""Controls a headless Chromium over two pipes by the DevTools protocol."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_TEXT = "document.body.innerText"
_OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",  # commands at descriptor 3, answers at 4
    "--no-sandbox",  # it cannot make one as root, and opens our own page only
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--window-size=1280,800",
)


class CannotBeDone(Exception):
    """A command that the browser refused, or a script that threw."""


class Page:
    """One page; every wait for the browser is bounded."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def call(self, method: str, **params: Any) -> Any:
        """Send a command and return its result."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 60
        while (answer := self._read(deadline)).get("id") != self._last:
            pass
        if "error" in answer:
            raise CannotBeDone(answer["error"]["message"])
        return answer["result"]

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self.until(f"location.href.startsWith({json.dumps(url)})")
        self.until("document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """Return the value of a script's last expression, or of its promise."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise CannotBeDone(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true; errors count as false while the page loads."""
        deadline = time.monotonic() + 60
        while not self._holds(condition):
            assert time.monotonic() < deadline, f"{condition}: {self.evaluate(_TEXT)}"
            time.sleep(0.02)

    def choose(self, selector: str, file: Path) -> None:
        """Put a file into a field."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector('{selector}')")
        field = found["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(file)], objectId=field)

    def picture(self) -> bytes:
        """Return a screenshot as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _holds(self, condition: str) -> bool:
        try:
            return self.evaluate(condition) is True
        except CannotBeDone:
            return False

    def _read(self, deadline: float) -> Any:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], deadline - time.monotonic())
            assert ready, "the browser did not answer"
            more = os.read(self._answers, 1 << 16)
            assert more, "the browser ended"
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


@contextmanager
def chromium() -> Iterator[Page]:
    """A page of a browser with an empty profile; both are gone afterwards."""
    assert CHROMIUM is not None
    its_commands, commands = os.pipe()
    answers, its_answers = os.pipe()
    # `dash` knows no descriptor above 9.
    launch = f"import os, sys; os.dup2({its_commands}, 3); os.dup2({its_answers}, 4)"
    launch += "; os.execv(sys.argv[1], sys.argv[1:])"
    with tempfile.TemporaryDirectory(prefix="revalid-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [sys.executable, "-c", launch, CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}"],
            pass_fds=(its_commands, its_answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(its_commands)
        os.close(its_answers)
        try:
            yield Page(commands, answers)
        finally:
            os.close(commands)
            os.close(answers)
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
