"""The reports of tests that a command wrote: new files alone, within bounds, no links or pipes."""

import pytest

from revalid.worker.sandboxes.protocol import OWN_REPORT, REPORT_BYTES, Sandbox

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEMPORARY = '"${TMPDIR:-/tmp}'


async def names(sandbox: Sandbox, command: str) -> list[str]:
    result = await sandbox.exec(command, reports=True)
    assert result.exit_code == 0, result
    return sorted(report.path for report in result.reports)


async def test_what_the_command_wrote_is_returned(sandbox: Sandbox) -> None:
    await sandbox.write_file("old/junit.xml", "old")
    await sandbox.write_file("changed/junit.xml", "old")
    result = await sandbox.exec(
        f"""echo own >{TEMPORARY}/revalid-tests.xml"; echo new >changed/junit.xml
        mkdir -p "a b/test-results" node_modules/x; echo '<x/>' >"a b/test-results/it's.xml"
        echo other >notes.xml; echo no >node_modules/x/junit.xml""",
        reports=True,
    )
    assert {report.path: report.content for report in result.reports} == {
        f"{OWN_REPORT}.xml": b"own\n",
        "changed/junit.xml": b"new\n",
        "a b/test-results/it's.xml": b"<x/>\n",
    }


async def test_reports_are_known_by_their_names(sandbox: Sandbox) -> None:
    reports = [
        *("a/my-junit-1.xml", "TEST-a.xml", "unit_test_results.xml", "a/last-test-report-2.xml"),
        *("a/test-results/deep/b.xml", "surefire-reports/c.xml", "test-reports/d.xml"),
        *("a/x.ctrf.json", "out.tap"),
    ]
    others = [
        *("test.xml", "results.xml", "a/TEST.xml", "junit.json", "test-results.json", "a.tap.txt"),
        *("test-results.old/e.xml", "tests/results/f.xml", ".git/junit.xml", "a/.venv/g.tap"),
    ]
    paths = " ".join(f"./{path}" for path in reports + others)
    command = f'for path in {paths}; do mkdir -p "${{path%/*}}" && echo x >"$path"; done'
    assert await names(sandbox, command) == sorted(reports)


async def test_a_report_of_an_earlier_command_is_none_of_a_later_one(sandbox: Sandbox) -> None:
    write = f'echo x >{TEMPORARY}/revalid-tests.json"; echo x >a.tap'
    assert await names(sandbox, write) == [f"{OWN_REPORT}.json", "a.tap"]
    assert await names(sandbox, "true") == []


async def test_a_file_from_the_future_is_no_report_of_each_command(sandbox: Sandbox) -> None:
    assert await names(sandbox, "echo x >a.tap; touch -d 2040-01-01 a.tap") == ["a.tap"]
    assert await names(sandbox, "true") == []


async def test_links_pipes_and_directories_are_not_opened(sandbox: Sandbox) -> None:
    command = f"""echo secret >target; ln -s target junit.xml; mkfifo junit-pipe.xml
    ln -s "$PWD/target" {TEMPORARY}/revalid-tests.xml"; mkdir junit-directory.xml
    mkdir real; echo x >real/junit.xml; ln -s real test-results"""
    assert await names(sandbox, command) == ["real/junit.xml"]


async def test_size_and_number_are_bounded(sandbox: Sandbox) -> None:
    command = f"""truncate -s 20G junit-sparse.xml 2>/dev/null || true
    head -c {REPORT_BYTES // 2 + 1_024} /dev/zero >junit-large.xml
    i=0; while [ $i -lt 300 ]; do echo x >junit-$i.xml; i=$((i + 1)); done"""
    found = await names(sandbox, command)
    assert 100 < len(found) <= 200
    assert not {"junit-large.xml", "junit-sparse.xml"} & set(found)


async def test_all_together_are_bounded(sandbox: Sandbox) -> None:
    command = f"""
    for i in 1 2 3 4 5; do head -c {REPORT_BYTES // 3} /dev/zero >junit-$i.xml; done"""
    assert len(await names(sandbox, command)) == 3


async def test_without_the_question_nothing_is_read(sandbox: Sandbox) -> None:
    result = await sandbox.exec("echo x >junit.xml")
    assert result.reports == ()
