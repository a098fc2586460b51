"""Renders a batch as JUnit XML for CI systems: a suite per project, a case per step."""

import re
from xml.etree import ElementTree as ET

from revalid.jobs.result import StepResult, StepStatus, Verdict
from revalid.producer.report.diagnosis import diagnose
from revalid.producer.report.excerpt import excerpt
from revalid.producer.report.model import BatchReport, Row
from revalid.producer.sanitize import clean

_OUTPUT = 65_536
"""Most characters of a failure's output; servers refuse files that are too large."""
_FACTS = ("id", "verdict", "failed_step", "duration_s", "queued_s", "reused")
"""Fields of a row that are properties of its suite, before the labels."""
_NOT_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(report: BatchReport) -> str:
    """Render the report as an XML document."""
    root = ET.Element("testsuites", name=_valid(report.name))
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for row in report.jobs:
        suite = _suite(row)
        for name in totals:
            totals[name] += int(suite.get(name, 0))
        root.append(suite)
    root.attrib.update({name: str(number) for name, number in totals.items()})
    root.set("time", _time(sum(row.spent_s for row in report.jobs)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(row: Row) -> ET.Element:
    suite = ET.Element("testsuite", name=_valid(row.title), time=_time(row.spent_s))
    properties = ET.SubElement(suite, "properties")
    facts = row.model_dump(mode="json", include=set(_FACTS), exclude_none=True)
    for name, value in [
        *((name, _word(value)) for name, value in facts.items()),
        *row.labels.items(),
    ]:
        ET.SubElement(properties, "property", name=_valid(name), value=_valid(value))
    for step in row.steps:
        if step.tests is not None and step.tests.cases:
            _test_cases(suite, row, step)
            if step.ok:
                continue  # its tests stand for it
        _step_case(suite, row, step)
    # If no step shows the failure, the job does; else a failed project would look green.
    if not row.steps or (row.verdict is not Verdict.PASSED and all(s.ok for s in row.steps)):
        _job_case(suite, row)
    for kind, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(kind, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(suite.findall("testcase"))))
    return suite


def _step_case(suite: ET.Element, row: Row, step: StepResult) -> None:
    case = _case(suite, row, step.name, 0.0 if row.reused else step.duration_s)
    case.set("status", step.status)
    if step.status is StepStatus.SKIPPED:
        ET.SubElement(case, "skipped", message=_valid(step.skipped_reason or ""))
    elif not step.ok:
        first = next(s for s in row.steps if not s.ok)
        message = diagnose(row).message if step is first else step.outcome
        failure = ET.SubElement(case, "failure", type=step.status, message=_valid(message))
        failure.text = _valid(_output(step))
    elif step.status is not StepStatus.PASSED:
        ET.SubElement(case, "system-out").text = _valid(f"may fail\n{_output(step)}")


def _test_cases(suite: ET.Element, row: Row, step: StepResult) -> None:
    """Add the single tests of a step, under the step's name."""
    assert step.tests is not None, "the caller looked"  # noqa: S101
    for test in step.tests.cases:
        name = f"{test.file}: {test.name}" if test.file else test.name
        took = 0.0 if row.reused else test.duration_s or 0.0
        case = _case(suite, row, f"{step.name}: {name}", took)
        message = _valid(test.message or "")
        if test.status == "skipped":
            ET.SubElement(case, "skipped", message=message)
        elif test.status == "failed":
            ET.SubElement(case, "failure", type="test", message=message).text = message
        elif test.flaky:
            ET.SubElement(case, "system-out").text = f"flaky: it failed at first\n{message}"


def _job_case(suite: ET.Element, row: Row) -> None:
    case = _case(suite, row, "job", row.spent_s)
    if not row.red:
        if row.verdict is None:
            ET.SubElement(case, "skipped", message="not done")
        return
    judged = row.verdict in (Verdict.FAILED, Verdict.TIMED_OUT)
    message = _valid(diagnose(row).message)
    fault = ET.SubElement(case, "failure" if judged else "error", type=row.state, message=message)
    fault.text = _valid(row.error or message)


def _case(suite: ET.Element, row: Row, name: str, took: float) -> ET.Element:
    return ET.SubElement(
        suite, "testcase", classname=_valid(row.title), name=_valid(name), time=_time(took)
    )


def _output(step: StepResult) -> str:
    parts = [f"$ {step.command}"] if step.command else []
    for stream in (step.stdout, step.stderr):
        kept, left_out = excerpt(stream, _OUTPUT // 2)
        parts += [kept, f"[revalid: {left_out} characters left out]" if left_out else ""]
    return "\n".join(part for part in parts if part)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _valid(text: str) -> str:
    return _NOT_XML.sub("", clean(text))


def _time(seconds: float) -> str:
    return f"{seconds:.3f}"
