"""Machine-readable reports of tests, which hostile code may have written."""

import json
from typing import Any

import pytest

from revalid.jobs.result import TestReport
from revalid.worker.run.test_reports import MAX_CASES, read_printed, read_reports
from revalid.worker.sandboxes.protocol import OWN_REPORT, WrittenReport
from revalid.worker.secrets import Scrubber

BUN = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="bun test" tests="3" failures="1" skipped="1">
  <testsuite name="a.test.ts" file="a.test.ts" tests="3" failures="1" skipped="1">
    <testsuite name="g" file="a.test.ts" failures="1">
      <testcase name="x" classname="g" time="0.25" file="a.test.ts" line="1" />
      <testcase name="s" classname="g" time="0" file="a.test.ts"><skipped /></testcase>
    </testsuite>
    <testcase name="y" classname="" time="0.1" file="a.test.ts">
      <failure type="AssertionError" message="Expected: 2">at a.test.ts:1</failure>
    </testcase>
  </testsuite>
</testsuites>"""
NODE = """<testsuites>
<testsuite name="g" failures="1"><testcase name="x" classname="test"/>
<testcase name="bad" classname="test"><failure message="no">[Error]</failure></testcase></testsuite>
<testcase name="child" classname="test"/>
<!-- tests 4 --><!-- pass 3 --><!-- fail 1 --><!-- cancelled 0 --><!-- skipped 0 --><!-- todo 0 -->
</testsuites>"""
PYTEST = """<testsuites><testsuite name="pytest" errors="1" failures="0" tests="2">
<testcase classname="tests.test_a.TestX" name="test_p[a b]" file="tests/test_a.py" time="0.006" />
<testcase classname="" name="tests.test_b" file="tests/test_b.py"><error message="collection"/>
</testcase></testsuite></testsuites>"""
JEST = {
    "testResults": [
        {
            "name": "/workspace/a.test.ts",
            "status": "failed",
            "assertionResults": [
                {"ancestorTitles": ["g"], "title": "ok", "status": "passed", "duration": 250},
                {"title": "bad", "status": "failed", "failureMessages": ["Error: no"]},
                {"title": "later", "status": "todo"},
            ],
        },
        {"name": "/workspace/b.test.ts", "status": "failed", "message": "no module"},
    ]
}
MOCHA = {
    "stats": {"tests": 3},
    "tests": [
        {"fullTitle": "g x", "duration": 1, "err": {}},
        {"fullTitle": "g y", "err": {"message": "no"}},
        {"fullTitle": "g z", "err": {}},
    ],
    "pending": [{"fullTitle": "g z"}],
}
CTRF = {
    "results": {
        "tool": {"name": "playwright"},
        "summary": {"tests": 2},
        "tests": [
            {"name": "a", "status": "passed", "duration": 1500, "suite": "g"},
            {"name": "b", "status": "failed", "message": "no", "filePath": "b.spec.ts"},
        ],
    }
}
NOTHING = Scrubber(())
Row = tuple[str, str, str | None, float | None, str | None]


def read(path: str, content: str | dict[str, Any], runner: str | None = None) -> TestReport:
    text = content if isinstance(content, str) else json.dumps(content)
    report = read_reports([WrittenReport(path, text.encode())], runner, NOTHING)
    assert report is not None
    return report


def rows(report: TestReport) -> list[Row]:
    return [
        (case.status, case.name, case.file, case.duration_s, case.message) for case in report.cases
    ]


@pytest.mark.parametrize(
    ("suffix", "content", "counts", "expected"),
    [
        (
            "xml",
            BUN,
            (1, 1, 1),
            [
                ("failed", "y", "a.test.ts", 0.1, "Expected: 2\nat a.test.ts:1"),
                ("passed", "g > x", "a.test.ts", 0.25, None),
                ("skipped", "g > s", "a.test.ts", 0.0, None),
            ],
        ),
        (
            "xml",
            NODE,
            (3, 1, 0),
            [
                ("failed", "g > bad", None, None, "no\n[Error]"),
                ("passed", "g > x", None, None, None),
                ("passed", "child", None, None, None),
            ],
        ),
        (
            "xml",
            PYTEST,
            (1, 1, 0),
            [
                ("failed", "tests/test_b.py::tests.test_b", "tests/test_b.py", None, "collection"),
                (
                    *("passed", "tests/test_a.py::TestX::test_p[a b]", "tests/test_a.py"),
                    *(0.006, None),
                ),
            ],
        ),
        (
            "json",
            JEST,
            (1, 2, 1),
            [
                ("failed", "bad", "a.test.ts", None, "Error: no"),
                ("failed", "b.test.ts", "b.test.ts", None, "no module"),
                ("passed", "g > ok", "a.test.ts", 0.25, None),
                ("skipped", "later", "a.test.ts", None, None),
            ],
        ),
        (
            "json",
            MOCHA,
            (1, 1, 1),
            [
                ("failed", "g y", None, None, "no"),
                ("passed", "g x", None, 0.001, None),
                ("skipped", "g z", None, None, None),
            ],
        ),
        (
            "json",
            CTRF,
            (1, 1, 0),
            [("failed", "b", "b.spec.ts", None, "no"), ("passed", "g > a", None, 1.5, None)],
        ),
        ("tap", "TAP version 13\n1..3\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP\n", (1, 1, 1), []),
    ],
    ids=["bun", "node", "pytest", "jest", "mocha", "ctrf", "tap"],
)
def test_a_report_is_read(
    suffix: str, content: str | dict[str, Any], counts: tuple[int, int, int], expected: list[Row]
) -> None:
    report = read(f"{OWN_REPORT}.{suffix}", content, "x")
    assert (report.passed, report.failed, report.skipped) == counts
    assert rows(report) == expected
    assert (report.source, report.runner) == ("report", "x")
    assert report.cases_omitted == sum(counts) - len(expected)


def test_the_report_for_us_goes_before_others_and_others_are_added_up() -> None:
    other = WrittenReport("out/junit.xml", b'<testsuite><testcase name="z"/></testsuite>')
    own = WrittenReport(f"{OWN_REPORT}.xml", BUN.encode())
    report = read_reports([other, own], "bun:test", NOTHING)
    assert report is not None
    assert (report.source, report.executed) == ("report", 2)
    report = read_reports([other, other], None, NOTHING)
    assert report is not None
    assert (report.source, report.runner, report.executed) == ("files", None, 2)


def test_failures_without_a_case_count() -> None:
    text = '<testsuite failures="2" errors="1"><testcase name="a"><failure/></testcase></testsuite>'
    report = read("junit.xml", text)
    assert (report.failed, report.cases_omitted) == (3, 2)


ENTITY = '<!DOCTYPE a [<!ENTITY b "c">]><testsuite><testcase name="&b;"/></testsuite>'
EXTERNAL = '<!DOCTYPE a SYSTEM "file:///etc/passwd"><testsuite><testcase name="a"/></testsuite>'
LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 30))


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("junit.xml", ENTITY),
        ("junit.xml", EXTERNAL),
        ("junit.xml", f"<!DOCTYPE a [{LAUGHS}]><testsuite><testcase name='&a29;'/></testsuite>"),
        ("junit.xml", "<testsuite>" * 100_000),
        ("junit.xml", "<testsuite>" + "<a/>" * 600_000 + "</testsuite>"),
        ("junit.xml", "<testsuite>" + "<testcase/>" * 150_000 + "</testsuite>"),
        ("junit.xml", "<coverage><testcase name='a'/></coverage>"),
        ("junit.xml", "<testsuite><testcase name='a'/>"),
        ("junit.xml", ""),
        ("junit.xml", "\0" * 1_000),
        *(
            ("junit.xml", f'<?xml version="1.0" encoding="{name}"?><testsuite/>')
            for name in ("foo", "utf-7", "punycode", "utf-16")
        ),
        ("ctrf.json", "[" * 1_000_000),
        ("ctrf.json", '{"a":' * 1_000_000),
        ("ctrf.json", '{"results": {"tests": 3}}'),
        ("ctrf.json", "3"),
        ("ctrf.json", '{"testResults": [], "x": ' + "9" * 5_000 + "}"),
        ("a.tap", "no plan\nok 1\n"),
    ],
)
def test_what_is_no_report_or_is_beyond_a_bound_is_not_read(path: str, content: str) -> None:
    assert read_reports([WrittenReport(path, content.encode())], None, NOTHING) is None


@pytest.mark.parametrize(
    "content",
    [
        '<testsuite failures="-5" errors="9999999999"><testcase name="a" time="nan"/></testsuite>',
        '<testsuite><testcase time="1e999" name="a"/></testsuite>',
        {"testResults": [{"assertionResults": [{"status": "passed", "title": 3, "duration": []}]}]},
        {"testResults": [3, {"assertionResults": [None, {"status": "passed"}], "name": {}}]},
        {"results": {"tests": [{"status": "passed", "suite": {"a": 1}, "duration": 1e400}]}},
    ],
)
def test_odd_values_are_left_out(content: str | dict[str, Any]) -> None:
    suffix = "xml" if isinstance(content, str) else "json"
    report = read(f"ctrf.{suffix}", content)
    assert (report.passed, report.failed) == (1, 0)
    assert report.cases[0].duration_s is None
    assert TestReport.model_validate_json(report.model_dump_json(exclude={"executed"})) == report


@pytest.mark.parametrize("status", ["", "crashed", None, "failed"])
def test_an_unknown_status_is_a_failure(status: str | None) -> None:
    results = [{"title": "a", "status": status}]
    assert read("jest-ctrf.json", {"testResults": [{"assertionResults": results}]}).failed == 1


def test_secrets_and_control_characters_are_left_out_of_names_and_messages() -> None:
    secret = "s3cret-value"
    scrubber = Scrubber([secret], root="/tmp/revalid-x/root")
    case = {
        "title": f"a\x1b[31m \u202e{secret}",
        "status": "failed",
        "failureMessages": ["x" * (1_000 - 8) + secret, secret],
    }
    name = f"/tmp/revalid-x/root/workspace/a{secret}.ts"
    document = {"testResults": [{"name": name, "assertionResults": [case]}]}
    content = json.dumps(document).encode()
    report = read_reports([WrittenReport("x.json", content)], None, scrubber)
    assert report is not None
    (found,) = report.cases
    assert found.name == "a [31m  ***"
    assert found.file == "a***.ts"
    assert found.message == "x" * (1_000 - 8) + "***"


def test_a_secret_in_two_pieces_of_a_text_is_masked() -> None:
    secret = "s3cret-value"
    text = "<testsuite><testcase><failure>s3cret<!-- -->-value</failure></testcase></testsuite>"
    report = read_reports([WrittenReport("x.xml", text.encode())], None, Scrubber([secret]))
    assert report is not None
    assert report.cases[0].message == "***"


def test_failed_cases_are_kept_first_and_their_number_is_bounded() -> None:
    failed = "".join(f'<testcase name="f{n}"><failure/></testcase>' for n in range(MAX_CASES + 9))
    passed = "".join(f'<testcase name="p{n}"/>' for n in range(900))
    report = read("junit.xml", f"<testsuite>{passed}{failed}</testsuite>")
    assert {case.status for case in report.cases} == {"failed"}
    assert (len(report.cases), report.cases_omitted) == (MAX_CASES, 909)
    report = read("junit.xml", f"<testsuite>{passed}</testsuite>")
    assert (len(report.cases), report.cases_omitted) == (200, 700)


@pytest.mark.parametrize("content", [json.dumps(JEST), BUN, json.dumps(MOCHA, indent=2)])
def test_a_report_that_is_printed_is_read(content: str) -> None:
    report = read_printed(f"\n> a@1.0.0 test\n> run\n\n{content}\n", "x", NOTHING)
    assert report is not None
    assert report.failed
    assert (report.source, report.runner) == ("report", "x")


@pytest.mark.parametrize("text", ["", "hello\n", "{}\n", "<html></html>\n", "a\n{ x\n}\n"])
def test_other_output_is_no_report(text: str) -> None:
    assert read_printed(text, None, NOTHING) is None
