"""The HTML report: its content, and that only its own script can run."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from revalid.jobs.result import PageReport, RenderReport, StartReport, StepResult, Verdict
from revalid.producer.report import BatchReport, Row, render
from tests.examples.chromium import CHROMIUM, chromium
from tests.producer.report.samples import failing, report, row, step, unfinished

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'><b>{{7*7}}"


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, made: BatchReport) -> None:
        super().__init__()
        self.source = render(made, "html")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.inside = ""
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.text += data

    def all(self, attribute: str) -> list[str]:
        """Every value of an attribute, in order."""
        return [value for _, has in self.elements if (value := has.get(attribute)) is not None]

    def rows(self) -> list[dict[str, str | None]]:
        """The attributes of each project's part of the table."""
        return [has for tag, has in self.elements if tag == "tbody"]


def evil(verdict: Verdict | None = Verdict.FAILED) -> BatchReport:
    bad = step(EVIL, 1, command=EVIL, stdout=f"\x1b[31m{EVIL}\x1b]0;title\x07\x00", stderr=EVIL)
    fields = {"failed_step": EVIL, "error": EVIL, "labels": {EVIL: EVIL}, "sandbox": EVIL}
    rows = [
        row(EVIL, bad, step(EVIL, None, skipped_reason=EVIL), verdict=verdict, id=EVIL, **fields),
        row("javascript:alert(1)", strategy=EVIL),
    ]
    before = report([row(EVIL), row(EVIL + "gone")], id=EVIL)
    return report(rows, id=EVIL, name=EVIL, previous=before)


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.ERRORED, Verdict.PASSED, None])
def test_text_of_projects_is_inert(verdict: Verdict | None) -> None:
    page = Page(evil(verdict))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "iframe", "object", "form"}
    assert len(page.scripts) == 1
    names = {name for _, has in page.elements for name in has}
    assert not {name for name in names if name.startswith("on")} | names & {"src", "srcdoc"}
    assert {link[0] for link in page.all("href") if link != "data:,"} == {"#"}
    assert "{{7*7}}" in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f]", page.source)


def test_a_browser_runs_only_the_pages_own_scripts() -> None:
    page = Page(evil())
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    (policy,) = (value for value in page.all("content") if "default-src" in value)
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert "connect-src" not in policy


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    page = Page(report([failing("a", "test", "boom")]))
    assert not re.search(r"https?:|@import|url\(|fetch\(|//[a-z]", page.source)
    assert {tag for tag, has in page.elements if "href" in has} == {"a", "link"}


def test_every_link_leads_somewhere() -> None:
    names = ["a b", "a-b", "a/b", "ä", "ö", "a-b-2", "", "<script>"]
    rows = [failing(name, "test", "boom") for name in names] + [row("a b", repeat=2)]
    page = Page(report(rows, previous=report([row("gone"), row("a b")])))
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.all("href") if link.startswith("#")} <= set(ids)
    assert "p-a-b" in ids
    assert all(re.fullmatch(r"[\w.-]+", name) for name in ids)


def test_a_row_can_be_found_by_its_cause_state_and_words() -> None:
    rows = [
        failing("shop", "build", "error: No 1", labels={"team": "Web"}),
        row("blog"),
        failing("chat", "build", "error: No 2"),
        failing("crm", "test", "error: other"),
        unfinished("late"),
    ]
    page = Page(report(rows))
    assert [has["data-causes"] for has in page.rows()] == ["1", "", "1", "2", ""]
    states = [has["data-state"] for has in page.rows()]
    assert states == ["failed", "passed", "failed", "failed", "pending"]
    words = page.rows()[0]["data-text"] or ""
    assert all(word in words for word in ("shop", "build", "team=web", "no …"))
    assert page.all("data-cause") == ["1", "2"]
    drawn = [has["class"] for tag, has in page.elements if tag == "circle"]
    assert drawn == ["track", "arc passed", "arc failed", "arc pending"]


def test_steps_are_bars_in_the_share_of_their_time() -> None:
    steps = (step("install", duration_s=6.0), step("test", 1, duration_s=2.0))
    page = Page(report([row("a", *steps, duration_s=8.0), row("b", duration_s=2.0)]))
    styles = page.all("style")
    assert "margin-left:75.0%;width:25.0%" in styles
    assert {"width:100.0%", "width:25.0%"} <= set(styles)


def test_a_reused_verdict_took_no_time() -> None:
    page = Page(report([row("a", step("test", duration_s=2.0), reused=True), row("b")]))
    assert [has["data-time"] for has in page.rows()] == ["0.0", "0.0"]
    assert page.text.count("reused") == 1
    assert "of an earlier run" in page.text


def test_every_step_has_its_status() -> None:
    big = step("big", 137, limit_exceeded="memory", limit_value="1 GiB", stdout="out")
    steps = (step("audit", 1, allow_failure=True), step("stop", None, cancelled=True), big)
    page = Page(report([row("a", *steps)]))
    assert page.all("data-status") == ["failed", "cancelled", "limit_exceeded"]
    kinds = [has["class"] for tag, has in page.elements if tag == "details"]
    assert kinds == ["step allowed", "step cancelled", "step limit_exceeded"]


def test_logs_of_failures_are_open_and_others_closed() -> None:
    slow = step("slow", 143, timed_out=True, stdout="half")
    page = Page(report([row("a", step("install", stdout="fine"), slow, step("lint"))]))
    steps = [has for tag, has in page.elements if tag == "details"]
    assert [(has["class"], "open" in has) for has in steps] == [
        ("step passed", False),
        ("step timed_out", True),
        ("step passed", False),
    ]
    assert "half" in page.text
    assert "timed out" in page.text


def test_much_output_is_cut_and_the_page_says_where() -> None:
    noise = "start\n" + "x" * 100_000 + "\nend"
    page = Page(report([failing("a", "test", noise)]))
    assert "76,010 characters left out where […] stands" in page.text
    assert "start" in page.text
    assert "\nend" in page.text
    many = report([failing(f"a{n}", "test", noise, noise, id=f"{n}") for n in range(1_000)])
    assert len(render(many, "html")) < 20_000_000


def test_a_shared_job_shows_its_logs_once() -> None:
    rows = [failing(name, "test", "boom-boom", id="0") for name in ("a", "b")]
    page = Page(report(rows))
    assert page.text.count("boom-boom") == Page(report(rows[:1])).text.count("boom-boom") + 1
    assert page.all("href").count("#p-a") == 3


def test_a_comparison_is_part_of_the_page() -> None:
    before = report([row("broke"), row("gone")], id="before")
    page = Page(report([row("broke", verdict=Verdict.TIMED_OUT), row("new")], previous=before))
    changes = [has for _, has in page.elements if "change" in (has.get("class") or "").split()]
    assert [has["class"] for has in changes] == [
        "change bad",
        "change none",
        "change none",
        "change other",
        "change other",
        "change none",
        "change none",
    ]
    assert "passed → timed out" in page.text
    assert "before" in page.text


@pytest.mark.parametrize("rows", [[], [Row(project="a", error="no such directory")]])
def test_a_batch_without_steps_has_a_page(rows: list[Row]) -> None:
    page = Page(report(rows, finished_at=None))
    assert len(page.rows()) == len(rows)
    assert "not done yet" in page.text


# One white pixel.
JPEG = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L"
    "2u71////m8H////6/+b9//j/wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAABf/EABQQAQAAAAAAAAAAAAAAAAAA"
    "AAD/2gAIAQEAAD8AZf/Z"
)


def rendered(thumbnail: str = JPEG, words: str = "Hello") -> StepResult:
    page = PageReport(path="/", width="desktop", title=words, errors=(words,), problem=words)
    render = RenderReport(browser=words, pages=(page,), thumbnail=thumbnail)
    return step("start", 143, start=StartReport(ready_s=1.0), render=render)


def test_the_pages_of_a_started_server_are_shown_once_for_each_job() -> None:
    rows = [row("one", rendered(), id="a"), row("two", rendered(), id="a"), row("three")]
    page = Page(report(rows))
    pictures = [has for tag, has in page.elements if tag == "img"]
    assert [has["src"] for has in pictures] == [f"data:image/jpeg;base64,{JPEG}"]
    assert "Hello" in page.text


def test_what_pages_say_is_inert() -> None:
    page = Page(report([row("one", rendered(EVIL, EVIL))]))
    assert len(page.scripts) == 1
    assert [tag for tag, _ in page.elements].count("img") == 1
    assert not page.all("onerror")


@pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM: the report is opened in no browser")
def test_a_browser_shows_the_picture_of_a_page(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(report([row("one", rendered())]), "html"))
    with chromium() as browser:
        browser.open(path.as_uri())
        browser.evaluate("document.querySelector('.toggle').click()")
        browser.until("document.querySelector('.pages img').naturalWidth === 1")
        assert browser.evaluate("document.querySelector('.pages img').offsetWidth") > 300
