"""The pages of a started server in a browser, on both sandboxes."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from revalid.jobs.result import RenderReport
from revalid.worker.run.rendering import Rendering
from revalid.worker.sandboxes.protocol import ExecResult, Sandbox
from revalid.worker.secrets import Scrubber
from revalid.worker.serving import Probe

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

_SERVER = """
const http = require("http"), pages = JSON.parse(process.argv[2])
http.createServer((question, answer) => {
  if (question.url === "/end") process.exit(7)
  const page = pages[question.url]
  answer.statusCode = page === undefined ? 404 : 200
  answer.setHeader("content-type", page && page.startsWith("{") ? "application/json" : "text/html")
  answer.end(page)
}).listen(Number(process.env.PORT || 0), "127.0.0.1")
"""
_GOOD = "<title>Good</title><h1>Hello</h1>"


class Opened:
    """Opens pages in a browser beside a sandbox."""

    def __init__(self, sandbox: Sandbox, artifacts: Path) -> None:
        self._sandbox, self._artifacts = sandbox, artifacts

    async def __call__(
        self, pages: Mapping[str, str], *, required: bool = False
    ) -> tuple[ExecResult, RenderReport | None]:
        await self._sandbox.write_file("server.js", _SERVER)
        await self._sandbox.write_file("pages.json", json.dumps(pages))
        rendering = Rendering(
            self._sandbox,
            self._artifacts,
            self._artifacts.parent,
            Scrubber(()),
            name="0",
            required=required,
        )
        async with rendering:
            ended = await self._sandbox.exec(
                'exec node server.js "$(cat pages.json)"', probe=Probe(), visit=rendering.visit
            )
        return ended, rendering.report


@pytest.fixture
def opened(sandbox: Sandbox, tmp_path: Path) -> Opened:
    """Return a function that opens pages."""
    return Opened(sandbox, tmp_path / "artifacts")


async def test_pages_and_links_are_opened_at_both_widths(opened: Opened, tmp_path: Path) -> None:
    links = '<a href="/about">a</a><a href="https://example.com/">x</a><a href="/log-out">o</a>'
    image = '<img src="/missing.png"><script>console.error("no", "picture")</script>'
    ended, report = await opened({"/": _GOOD + links + image, "/about": _GOOD})
    assert ended.serving is not None
    assert not ended.serving.ended
    assert report is not None
    assert (report.problem, report.not_judged) == (None, None)
    assert [(page.path, page.width) for page in report.pages] == [
        ("/", "desktop"),
        ("/", "phone"),
        ("/about", "desktop"),
        ("/about", "phone"),
    ]
    first = report.pages[0]
    assert (first.title, first.status) == ("Good", 200)
    assert set(first.errors) == {"request /missing.png: 404", "console: no picture"}
    assert first.screenshot == "exported/0/1-desktop.png"
    picture = (tmp_path / "artifacts/0/1-desktop.png").read_bytes()
    assert picture[16:24] == (1280).to_bytes(4) + (800).to_bytes(4)
    assert report.thumbnail
    assert report.browser


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ('<div id="root"></div>', "/ (desktop): it is blank"),
        ('<p style="color:#fff">white on white', "/ (desktop): it is blank"),
        (_GOOD + '<script>throw new Error("no root")</script>', "uncaught Error: no root"),
        (_GOOD + '<script>Promise.reject(new Error("late"))</script>', "uncaught Error: late"),
    ],
    ids=["empty", "white", "exception", "rejection"],
)
async def test_a_bad_page_has_its_problem(opened: Opened, page: str, problem: str) -> None:
    _, report = await opened({"/": page})
    assert report is not None
    assert problem in (report.problem or "")
    assert report.pages[0].screenshot


async def test_a_page_that_hangs_is_told_and_ended(opened: Opened) -> None:
    ended, report = await opened({"/": _GOOD + "<script>for (;;);</script>"})
    assert report is not None
    assert "/ (desktop): it does not respond" in (report.problem or "")
    assert ended.serving is not None
    assert not ended.serving.ended


async def test_an_exception_without_the_network_proves_nothing(opened: Opened) -> None:
    script = '<script src="https://cdn.invalid/x.js"></script><script>library.start()</script>'
    _, report = await opened({"/": _GOOD + script})
    assert report is not None
    assert report.problem is None
    assert "https://cdn.invalid/x.js could not be reached" in (report.not_judged or "")


async def test_a_page_that_leaves_proves_nothing(opened: Opened) -> None:
    _, report = await opened({"/": _GOOD + '<script>location = "https://login.invalid/"</script>'})
    assert report is not None
    assert report.problem is None
    assert report.not_judged == "/ (desktop): it left for https://login.invalid/"


async def test_what_browsers_throw_in_good_pages_is_only_listed(opened: Opened) -> None:
    script = """<canvas></canvas><script>
      if (!document.querySelector("canvas").getContext("webgl")) throw new Error("no WebGL")
      Promise.reject(new DOMException("the play() request was interrupted", "AbortError"))
    </script>"""
    _, report = await opened({"/": _GOOD + script})
    assert report is not None
    assert (report.problem, report.not_judged) == (None, None)
    assert "AbortError" in report.pages[0].errors[0]


@pytest.mark.parametrize("page", ['{"ok": true}', None], ids=["json", "missing"])
async def test_a_server_without_a_page_renders_nothing(opened: Opened, page: str | None) -> None:
    _, report = await opened({} if page is None else {"/": page})
    assert report is None


async def test_a_server_that_ends_under_a_page_is_told(opened: Opened) -> None:
    ended, _ = await opened({"/": _GOOD + '<img src="/end">'})
    assert ended.serving is not None
    assert ended.serving.ended
    assert ended.serving.ready_s is not None
    assert ended.exit_code == 7
