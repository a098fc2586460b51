"""One attempt at a job, in a real local sandbox."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from revalid.jobs.checks import CheckName
from revalid.jobs.connection import connect
from revalid.jobs.errors import (
    EngineUnavailable,
    InstallErrored,
    InvalidJob,
    InvalidProject,
    PolicyRefused,
    SandboxLost,
    ToolMissing,
)
from revalid.jobs.job import DEFAULT_IMAGE, LimitName
from revalid.jobs.projects.blobs import BlobStore
from revalid.jobs.result import Verdict
from revalid.jobs.settings import load_settings
from revalid.producer.submission import prepare
from revalid.worker import serving
from revalid.worker.run import install_tries, output_budget
from revalid.worker.run.runner import Run
from revalid.worker.sandboxes.dagger import services
from revalid.worker.sandboxes.dagger.engine import Engine
from revalid.worker.sandboxes.local import bubblewrap
from tests.registry import NAME, registry

MakeRun = Callable[..., Run]


class NoEngine(Engine):
    """An engine that never answers."""

    async def client(self) -> Any:
        raise EngineUnavailable("no Dagger engine answered")


@pytest.fixture
def make_run(valkey_url: str, tmp_path: Path) -> MakeRun:
    blobs = BlobStore(connect(valkey_url, text=False), url=None, redis_bytes=2**20, ttl_s=60)

    def make(
        *commands: str,
        project: dict[str, str] | None = None,
        overlay: dict[str, str] | None = None,
        here: dict[str, Any] | None = None,
        environ: dict[str, str] | None = None,
        engine: Engine | None = None,
        **fields: Any,
    ) -> Run:
        settings = load_settings(
            {}, env_file=None, embedded=True, home=tmp_path / "home", **(here or {})
        )
        source = None
        if project is not None:
            source = tmp_path / "source"
            for name, content in project.items():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_text(content)
        fields.setdefault("sandbox", "local")
        if not project and "steps" not in fields:
            fields["steps"] = [{"op": "exec", "command": command} for command in commands]
            commands = ()
        if overlay is not None:
            fields["overlay"] = tmp_path / "trusted"
            for name, content in overlay.items():
                (fields["overlay"] / name).parent.mkdir(parents=True, exist_ok=True)
                (fields["overlay"] / name).write_text(content)
        with prepare(settings, source, commands=commands, **fields) as submission:
            job = submission.job
            if submission.overlay is not None and job.overlay is not None:
                blobs.put(submission.overlay, job.overlay.digest, job.overlay.size_bytes)
            if submission.tarball is not None and job.source is not None:
                assert job.source.kind == "tarball"
                blobs.put(submission.tarball, job.source.digest, job.source.size_bytes)
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        return Run(
            job=job,
            settings=settings,
            environ=environ or {},
            engine=engine or NoEngine(timeout_s=1),
            blobs=blobs,
            kept=BlobStore.of_artifacts(connect(valkey_url, text=False), settings),
            scratch=scratch,
            artifacts=tmp_path / "artifacts",
            emit=lambda type_, data: None,
            engine_missing=no_engine,
        )

    return make


async def no_engine() -> None:
    """Do nothing: no other worker has an engine either."""


async def test_every_command_passes(make_run: MakeRun) -> None:
    run = make_run("echo one", "echo two >&2")
    assert await run.execute() is Verdict.PASSED
    assert [(s.name, s.exit_code, s.stdout, s.stderr) for s in run.steps] == [
        ("echo one", 0, "one\n", ""),
        ("echo two >&2", 0, "", "two\n"),
    ]
    assert run.sandbox.kind == "local"
    assert run.sandbox.fallback_reason is None


async def test_each_command_reports_after_a_failure(make_run: MakeRun) -> None:
    run = make_run("echo broken; exit 7", "echo after")
    assert await run.execute() is Verdict.FAILED
    assert [(s.exit_code, s.stdout) for s in run.steps] == [(7, "broken\n"), (0, "after\n")]


async def test_step_limit_is_a_time_out_with_its_output(make_run: MakeRun) -> None:
    run = make_run("echo before; sleep 60", limits={"command_timeout_s": 0.5})
    assert await run.execute() is Verdict.TIMED_OUT
    (step,) = run.steps
    assert (step.timed_out, step.stdout) == (True, "before\n")


async def test_step_over_a_limit_fails_and_reports_it(make_run: MakeRun) -> None:
    run = make_run(
        "echo kept; printf unfinished >&2; n=0; while [ $n -lt 40 ]; do sleep 60 & n=$((n + 1)); "
        "done; wait",
        limits={"processes": 10},
    )
    assert await run.execute() is Verdict.FAILED
    (step,) = run.steps
    assert (step.limit_exceeded, step.over_limit) == ("processes", "over its processes limit of 10")
    assert step.stdout == "kept\n"
    assert step.stderr == "unfinished\n[revalid: ended, over its processes limit of 10]\n"


async def test_enforcement_lists_the_limits_that_are_set(make_run: MakeRun) -> None:
    run = make_run("true", limits={"cpu_s": 5})
    assert await run.execute() is Verdict.PASSED
    assert set(run.enforcement) == set(LimitName)
    assert run.enforcement[LimitName.TIME] == "enforced"


async def test_required_limit_that_is_not_enforced_rejects_before_any_step(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap, "works", lambda: False)
    run = make_run("true", limits={"required": ["time", "disk"]})
    with pytest.raises(PolicyRefused, match=r"limit disk: required, but the local sandbox"):
        await run.execute()
    assert run.steps == ()
    assert list(run.scratch.glob("revalid-*")) == []


async def test_failure_outweighs_a_time_out(make_run: MakeRun) -> None:
    run = make_run("sleep 60", "exit 1", limits={"command_timeout_s": 0.3})
    assert await run.execute() is Verdict.FAILED


async def test_job_limit_skips_the_remaining_steps(make_run: MakeRun) -> None:
    run = make_run("sleep 60", "echo never", limits={"job_timeout_s": 1})
    assert await run.execute() is Verdict.TIMED_OUT
    assert run.steps[0].timed_out
    assert "limit of 1 s" in str(run.steps[1].skipped_reason)


async def test_failure_that_is_allowed_does_not_decide(make_run: MakeRun) -> None:
    run = make_run(
        steps=[
            {"op": "exec", "command": "exit 3", "allow_failure": True},
            {"op": "exec", "command": "true"},
        ]
    )
    assert await run.execute() is Verdict.PASSED


async def test_file_steps_report_their_text_or_error(make_run: MakeRun) -> None:
    run = make_run(
        steps=[
            {"op": "write_files", "files": {"a/x": "1", "a/y": "2"}},
            {"op": "list_directory", "path": "."},
            {"op": "read_file", "path": "a/x"},
            {"op": "delete_file", "path": "a/none"},
            {"op": "set_workdir", "path": "a"},
            {"op": "set_env", "name": "GREETING", "value": "hi"},
            {"op": "exec", "command": "echo $GREETING; cat y"},
            {"op": "export_directory", "path": "."},
        ]
    )
    assert await run.execute() is Verdict.FAILED
    assert [step.exit_code for step in run.steps] == [0, 0, 0, 1, 0, 0, 0, 0]
    assert run.steps[1].stdout == "a/\n"
    assert run.steps[2].stdout == "1"
    assert "a/none" in run.steps[3].stderr
    assert run.steps[6].stdout == "hi\n2"
    assert sorted(path.name for path in (run.artifacts / "7").iterdir()) == ["x", "y"]


async def test_protected_files_cannot_be_written(make_run: MakeRun) -> None:
    run = make_run(
        steps=[{"op": "write_file", "path": "./a/../package.json", "content": "{}"}],
        protected=["package.json"],
    )
    assert await run.execute() is Verdict.FAILED
    assert "protected by 'package.json'" in run.steps[0].stderr


async def test_check_is_skipped_where_its_install_failed(make_run: MakeRun) -> None:
    manifest = '{"scripts":{"preinstall":"echo no luck; exit 9","test":"true","build":"true"}}'
    run = make_run(project={"package.json": manifest}, strategy="npm")
    assert await run.execute() is Verdict.FAILED
    install, *checks = run.steps
    assert (install.name, install.exit_code) == ("install", 9)
    assert {step.name for step in checks} >= {"build", "test"}
    assert all(step.skipped_reason for step in checks)


@pytest.mark.parametrize("given", [False, True], ids=["strategy", "command"])
async def test_a_registry_that_fails_an_install_does_not_fail_the_project(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    monkeypatch.setattr(install_tries, "PAUSES_S", (0.0,))
    manifest = {"dependencies": {NAME: "1.0.0"}, "scripts": {"test": "node -e 1"}}
    with registry() as busy:
        busy.trouble = 503
        run = make_run(
            *(["npm install", "npm test"] if given else []),
            project={"package.json": json.dumps(manifest)},
            env={"npm_config_registry": busy.url, "npm_config_fetch_retries": "0"},
        )
        with pytest.raises(InstallErrored, match=r"^\S.*E503; npm error 503 .* \(tried 2 times\)"):
            await run.execute()
    install, *later = run.steps
    assert install.status == "errored"
    assert all(step.status == "skipped" for step in later)


async def test_words_of_a_script_do_not_excuse_its_project(make_run: MakeRun) -> None:
    """One try and a failure, whatever a hostile script prints."""
    lie = "echo 'npm error code E503' >&2; echo connect ECONNREFUSED >&2; echo ran; exit 1"
    manifest = {"scripts": {"preinstall": lie, "test": "node --test"}}
    run = make_run(project={"package.json": json.dumps(manifest)})
    assert await run.execute() is Verdict.FAILED
    assert (run.steps[0].status, run.steps[0].fault) == ("failed", None)


async def test_project_without_checks_is_rejected(make_run: MakeRun) -> None:
    run = make_run(project={"package.json": '{"name":"empty"}'}, strategy="npm")
    with pytest.raises(InvalidProject, match="nothing was checked"):
        await run.execute()


async def test_check_that_may_fail_proves_nothing(make_run: MakeRun) -> None:
    run = make_run(project={"package.json": '{"scripts":{"lint":"exit 3"}}'}, strategy="npm")
    with pytest.raises(InvalidProject, match="nothing was checked"):
        await run.execute()


async def test_project_that_removes_its_workdir_fails(make_run: MakeRun) -> None:
    run = make_run("cd .. && rm -rf workspace && ln -s / workspace", "echo next")
    assert await run.execute() is Verdict.FAILED
    assert run.steps[1].exit_code == 1
    assert run.steps[1].command == "echo next"


async def test_secret_reaches_the_command_and_nothing_else(make_run: MakeRun) -> None:
    run = make_run(
        'test "$DATABRICKS_TOKEN" = dapi-123456 && echo "got $DATABRICKS_TOKEN"',
        environ={"DATABRICKS_TOKEN": "dapi-123456"},
    )
    assert await run.execute() is Verdict.PASSED
    assert run.steps[0].stdout == "got ***\n"


async def test_passwords_of_the_workers_own_proxy_are_masked(make_run: MakeRun) -> None:
    run = make_run(
        'echo "$HTTPS_PROXY"',
        environ={"HTTPS_PROXY": "http://build:p%40ssword@proxy.test:3128"},
    )
    assert await run.execute() is Verdict.PASSED
    assert run.steps[0].stdout == "http://***@proxy.test:3128\n"


async def test_output_names_paths_as_in_a_container(make_run: MakeRun) -> None:
    run = make_run("pwd; ls $PWD/none")
    await run.execute()
    assert run.steps[0].stdout == "/workspace\n"
    assert "/workspace/none" in run.steps[0].stderr
    assert "revalid-" not in run.steps[0].stderr


async def test_refused_secret_rejects_before_any_step(make_run: MakeRun) -> None:
    run = make_run("true", secrets={"X": "env://PATH"}, environ={"PATH": "/bin"})
    with pytest.raises(PolicyRefused):
        await run.execute()
    assert run.steps == ()


async def test_host_path_outside_the_roots_rejects_before_any_step(make_run: MakeRun) -> None:
    run = make_run(
        steps=[
            {"op": "exec", "command": "true"},
            {"op": "refresh_from_host", "host_path": "/etc"},
        ]
    )
    with pytest.raises(PolicyRefused, match="REVALID_SOURCE_ROOTS"):
        await run.execute()
    assert run.steps == ()


async def test_auto_falls_back_with_a_reason(make_run: MakeRun) -> None:
    run = make_run("true", sandbox="auto")
    assert await run.execute() is Verdict.PASSED
    assert run.sandbox.kind == "local"
    assert run.sandbox.fallback_reason == "no Dagger engine answered"


async def test_dagger_never_falls_back(make_run: MakeRun) -> None:
    with pytest.raises(EngineUnavailable):
        await make_run("true", sandbox="dagger", limits={"engine_wait_s": 0}).execute()


@pytest.mark.parametrize(("worker", "requested"), [("dagger", "local"), ("local", "dagger")])
async def test_worker_refuses_the_other_sandbox(
    make_run: MakeRun, worker: str, requested: str
) -> None:
    run = make_run("true", sandbox=requested, here={"sandbox": worker})
    with pytest.raises(PolicyRefused, match=f"runs only {worker}"):
        await run.execute()


async def test_auto_job_on_a_dagger_worker_never_runs_locally(make_run: MakeRun) -> None:
    with pytest.raises(EngineUnavailable):
        run = make_run(
            "true", sandbox="auto", here={"sandbox": "dagger"}, limits={"engine_wait_s": 0}
        )
        await run.execute()


async def test_cancelled_run_keeps_its_results(make_run: MakeRun) -> None:
    cleans = "trap 'echo cleaned; exit 3' TERM; echo up >&2; while :; do sleep 0.05; done"
    run = make_run("echo done", cleans, "echo never")
    up = asyncio.Event()
    ends: list[tuple[int, bool]] = []

    def emit(type_: str, data: dict[str, Any]) -> None:
        if type_ == "output" and data["text"] == "up\n":
            up.set()
        if type_ == "step_finished":
            ends.append((data["index"], data["cancelled"]))

    run.emit = emit
    work = asyncio.create_task(run.execute())
    await up.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert [(s.stdout, s.exit_code, s.cancelled) for s in run.steps] == [
        ("done\n", 0, False),
        ("cleaned\n", 3, True),
    ]
    assert run.steps[1].duration_s > 0
    assert (run.steps[1].ok, run.steps[1].outcome) == (False, "cancelled")
    assert ends == [(0, False), (1, True)]


async def test_output_of_all_steps_is_bounded(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(*(f"head -c 100000 /dev/zero # {n}" for n in range(6)))
    monkeypatch.setattr(output_budget, "TOTAL_OUTPUT_BYTES", 200_000)
    await run.execute()
    total = sum(len(step.stdout) for step in run.steps)
    assert total < 200_000
    assert all(step.stdout_bytes == 100_000 for step in run.steps)


async def test_worker_variables_do_not_reach_commands(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVALID_CANARY", "seen")
    run = make_run("env", environ={"REVALID_CANARY": "seen", "HTTPS_PROXY": "http://proxy:1"})
    await run.execute()
    assert "CANARY" not in run.steps[0].stdout
    assert "HTTPS_PROXY=http://proxy:1" in run.steps[0].stdout


async def test_command_that_ends_well_at_its_limit_has_not_passed(make_run: MakeRun) -> None:
    run = make_run("trap 'exit 0' TERM; sleep 60 & wait", limits={"command_timeout_s": 0.5})
    assert await run.execute() is Verdict.TIMED_OUT
    (step,) = run.steps
    assert (step.exit_code, step.timed_out, step.ok) == (0, True, False)


SERVER = """
require("http").createServer((question, answer) => {
  answer.statusCode = Number(process.env.STATUS)
  answer.end("hello\\nagain")
}).listen(process.env.PORT, "127.0.0.1")
"""


def server_project(start: str) -> dict[str, str]:
    return {
        "package.json": json.dumps({"scripts": {"start": start}}),
        "server.js": SERVER,
        "idle.js": "setTimeout(() => {}, 60_000)",
    }


async def test_a_required_start_decides_and_says_how_long_it_took(make_run: MakeRun) -> None:
    run = make_run(project=server_project("STATUS=200 node server.js"), require=("start",))
    assert await run.execute() is Verdict.PASSED
    start = run.steps[-1].start
    assert start is not None
    assert (start.status, start.path, start.body, start.problem) == (200, "/", "hello\nagain", None)
    assert run.proven[-1].words == f"started in {start.ready_s:.1f} s, 200 on /"


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("STATUS=503 node server.js", "it answered 503 to / for 4 s"),
        ("node idle.js", "it listened on no port within 4 s"),
        ("cat no-config; exit 3", "it ended before it listened (exit 3)"),
        ("(sleep 30; node server.js) &", "it ended before it listened (exit 0)"),
        (
            "STATUS=200 timeout 1 node server.js; echo no database; exit 1",
            "it ended 1 s or less after it answered (exit 1)",
        ),
        (
            "echo '[vite] Internal server error: no such file'; STATUS=200 node server.js",
            "it answered, but it did not compile: [vite] Internal server error",
        ),
    ],
)
async def test_a_required_start_that_fails_says_how(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, start: str, words: str
) -> None:
    monkeypatch.setattr(serving, "READY_S", 4.0)
    run = make_run(project=server_project(start), require=("start",))
    assert await run.execute() is Verdict.FAILED
    assert run.steps[-1].outcome == words
    assert [(item.check, item.reason, item.decides) for item in run.unproven][-1] == (
        CheckName.START,
        words,
        True,
    )


async def test_a_start_says_that_its_migrations_failed(make_run: MakeRun) -> None:
    scripts = {"start": "node server.js", "db:push": "echo no table; exit 7"}
    project = {"package.json": json.dumps({"scripts": scripts}), "server.js": SERVER}
    run = make_run(project=project, require=("start",))
    assert await run.execute() is Verdict.FAILED
    assert run.steps[-1].outcome == "its migrations failed (exit 7)"
    assert "no table" in run.steps[-1].stdout


async def test_migrations_run_before_and_their_time_is_told(make_run: MakeRun) -> None:
    scripts = {"start": "STATUS=200 node server.js", "db:push": "echo made the schema"}
    project = {"package.json": json.dumps({"scripts": scripts}), "server.js": SERVER}
    run = make_run(project=project, require=("start",))
    assert await run.execute() is Verdict.PASSED
    step = run.steps[-1]
    assert step.start is not None
    assert step.start.setup_s is not None
    assert "made the schema" in step.stdout


@pytest.mark.slow
async def test_a_server_of_another_protocol_is_unproven_and_no_failure(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "READY_S", 4.0)
    server = 'require("net").createServer(s => s.write("220 hello")).listen(process.env.PORT)'
    project = server_project("node server.js") | {"server.js": server}
    run = make_run(project=project, require=("start",))
    assert await run.execute() is Verdict.INCOMPLETE
    assert run.unproven[-1].reason.endswith("and speaks no HTTP; only HTTP is asked")


@pytest.mark.parametrize(
    ("start", "reason"),
    [("node server.js", None), ("node dist/server.js", "build was left out by --skip build")],
)
async def test_a_skipped_build_skips_only_a_start_that_needs_it(
    make_run: MakeRun, start: str, reason: str | None
) -> None:
    scripts = {"build": "mkdir dist && cp server.js dist", "start": start, "test": "true || node t"}
    project = {"package.json": json.dumps({"scripts": scripts}), "server.js": SERVER}
    run = make_run(project=project, skip=("build",), env={"STATUS": "200"})
    await run.execute()
    assert run.steps[-1].skipped_reason == reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "verdict"), [("<h1>Hello</h1>", Verdict.PASSED), ("<i></i>", Verdict.FAILED)]
)
async def test_required_pages_decide(make_run: MakeRun, page: str, verdict: Verdict) -> None:
    server = SERVER.replace('"hello\\nagain"', json.dumps(page)).replace(
        "answer.end", 'answer.setHeader("content-type", "text/html"); answer.end'
    )
    project = server_project("STATUS=200 node server.js") | {"server.js": server}
    run = make_run(project=project, require=("render",))
    assert await run.execute() is verdict
    step = run.steps[-1]
    assert step.screenshots
    assert run.kept_artifacts is not None
    if verdict is Verdict.FAILED:
        assert step.outcome == "/ (desktop): it is blank"
        assert run.unproven[-1].decides


async def test_pages_without_a_browser_are_incomplete(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("revalid.worker.sandboxes.local.sandbox.find_browser", lambda _: None)
    run = make_run(project=server_project("STATUS=200 node server.js"), require=("render",))
    assert await run.execute() is Verdict.INCOMPLETE
    assert run.unproven[-1].reason.startswith("no Chromium on this worker: install")


@pytest.mark.dagger
@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("start", "verdict", "words"),
    [
        ("node idle.js", Verdict.FAILED, "it listened on no port within 5 s"),
        ("STATUS=500 node server.js", Verdict.FAILED, "it answered 500 to / for 5 s"),
        ("(sleep 30; node server.js) &", Verdict.FAILED, "it ended before it listened (exit 0)"),
        (
            "while :; do echo again; cat no-config; done",
            Verdict.FAILED,
            "it listened on no port within 5 s",
        ),
        (
            "STATUS=200 node -r ./deaf.js server.js",
            Verdict.PASSED,
            ", 200 on /, but ignores SIGTERM",
        ),
    ],
)
async def test_a_start_on_an_engine_has_the_verdict_of_the_local_one(
    make_run: MakeRun,
    dagger_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    start: str,
    verdict: Verdict,
    words: str,
) -> None:
    monkeypatch.setattr(serving, "READY_S", 5.0)
    project = server_project(start) | {"deaf.js": "process.on('SIGTERM', () => {})"}
    where = {"sandbox": "dagger", "engine": dagger_engine}
    run = make_run(project=project, require=("start",), **where)
    assert await run.execute() is verdict
    told = run.proven[-1].words if verdict is Verdict.PASSED else run.steps[-1].outcome
    assert told.endswith(words)


@pytest.mark.dagger
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("service", "ready_s", "ending"),
    [
        ({"kind": "redis", "image": "valkey/no-such-image:1"}, 60.0, InvalidJob),
        ({"kind": "other", "name": "a", "image": DEFAULT_IMAGE, "port": 1}, 60.0, Verdict.FAILED),
        ({"kind": "redis"}, 0.001, SandboxLost),
    ],
)
async def test_the_fault_of_a_service_is_told_apart(
    make_run: MakeRun,
    dagger_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    service: dict[str, Any],
    ready_s: float,
    ending: Verdict | type[Exception],
) -> None:
    monkeypatch.setattr(services, "START_TIMEOUT_S", ready_s)
    where = {"sandbox": "dagger", "engine": dagger_engine}
    run = make_run("true", project={"a": ""}, services=[service], **where)
    if isinstance(ending, Verdict):
        assert await run.execute() is ending
        assert run.steps[-1].stderr.startswith(f"service a ({DEFAULT_IMAGE}) did not start: ")
    else:
        with pytest.raises(ending, match="service redis"):
            await run.execute()


@pytest.mark.dagger
@pytest.mark.asyncio(loop_scope="session")
async def test_the_result_describes_a_service(make_run: MakeRun, dagger_engine: Engine) -> None:
    given = [{"kind": "postgres"}]
    where = {"sandbox": "dagger", "engine": dagger_engine}
    run = make_run("true", project={"a": ""}, services=given, **where)
    assert await run.execute() is Verdict.PASSED
    (service,) = run.services
    assert (service.name, service.image, service.port) == ("postgres", "postgres:17-alpine", 5432)
    assert service.env == ("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB")
    assert service.ready_s is not None


async def test_a_start_that_nobody_requires_does_not_decide(make_run: MakeRun) -> None:
    project = {
        "package.json": json.dumps({"scripts": {"build": "node build.js", "start": "exit 3"}}),
        "build.js": "",
    }
    run = make_run(project=project)
    assert await run.execute() is Verdict.PASSED
    assert [(item.check, item.decides) for item in run.unproven if item.step == "start"] == [
        (CheckName.START, False)
    ]


TESTED = {
    "package.json": json.dumps({"scripts": {"build": "node build.js", "test": "node --test"}}),
    "build.js": "",
    "a.test.js": "require('node:test')('a', () => {})",
}


async def test_a_project_that_turns_its_tests_off_is_incomplete(make_run: MakeRun) -> None:
    run = make_run(project={**TESTED, "revalid.toml": 'skip = ["tests"]'})
    assert await run.execute() is Verdict.INCOMPLETE
    (missing,) = [item for item in run.unproven if item.decides]
    assert missing.words == "test: left out by revalid.toml"


async def test_the_caller_may_leave_them_out(make_run: MakeRun) -> None:
    project = {**TESTED, "revalid.toml": 'skip = ["tests"]'}
    run = make_run(project=project, skip=("tests",))
    assert await run.execute() is Verdict.PASSED


async def test_the_caller_may_trust_a_configuration_of_its_own(make_run: MakeRun) -> None:
    project = {**TESTED, "revalid.toml": 'skip = ["build"]'}
    run = make_run(project=project, overlay={"revalid.toml": 'skip = ["tests"]'})
    assert await run.execute() is Verdict.PASSED
    assert "test: left out by revalid.toml of the overlay" in [i.words for i in run.unproven]


async def test_beside_an_overlay_the_projects_own_does_not_count(make_run: MakeRun) -> None:
    evil = "require('node:test').test = () => {}; process.exit(0)"
    run = make_run(
        project={
            **TESTED,
            "evil.js": evil,
            "revalid.toml": "env = {NODE_OPTIONS = '--require ./evil.js'}",
        },
        overlay={"a.test.js": "require('node:test')('a', () => { throw new Error('x') })"},
    )
    assert await run.execute() is Verdict.FAILED
    assert "revalid.toml does not count beside an overlay: put one into it" in run.notes


async def test_a_command_does_not_stand_for_the_tests_that_were_found(make_run: MakeRun) -> None:
    text = "skip = ['tests']\n[[commands]]\nname = 'tests'\nrun = 'node -e 1,1'"
    run = make_run(project={**TESTED, "revalid.toml": text})
    assert await run.execute() is Verdict.INCOMPLETE
    assert run.proven[-1].words == "exited with 0"


async def test_a_command_that_does_nothing_passes_no_project(make_run: MakeRun) -> None:
    text = "[[commands]]\nname = 'tests'\nrun = 'true'"
    run = make_run(project={"Makefile": "", "revalid.toml": text})
    with pytest.raises(InvalidProject, match="nothing was checked"):
        await run.execute()


async def test_own_commands_decide(make_run: MakeRun) -> None:
    text = "[env]\nWORD = 'yes'\n[[commands]]\nname = 'own'\nrun = 'test $WORD = yes'"
    run = make_run(project={**TESTED, "revalid.toml": text})
    assert await run.execute() is Verdict.PASSED
    assert [proof.step for proof in run.proven][-1] == "own"
    assert run.notes[0] == "revalid.toml configures this job: commands, env"


async def test_an_own_command_that_fails_fails_the_job(make_run: MakeRun) -> None:
    text = "[[commands]]\nname = 'own'\nrun = 'exit 3'"
    run = make_run(project={**TESTED, "revalid.toml": text})
    assert await run.execute() is Verdict.FAILED


async def test_tests_that_a_project_expects_and_does_not_run_fail_it(make_run: MakeRun) -> None:
    run = make_run(project={**TESTED, "revalid.toml": "expect_tests = 2"})
    assert await run.execute() is Verdict.FAILED
    assert run.unproven[-1].reason == "expected 2 tests, 1 ran"


async def test_a_command_does_not_add_to_the_tests_that_the_caller_expects(
    make_run: MakeRun,
) -> None:
    text = "[[commands]]\nname = 'own'\nrun = 'node forge.js'"
    forged = "console.log('# tests 50\\n# pass 50\\n# fail 0')"
    run = make_run(project={**TESTED, "forge.js": forged, "revalid.toml": text}, expect_tests=2)
    assert await run.execute() is Verdict.FAILED
    assert run.steps[-1].tests is not None
    assert run.steps[-1].tests.passed == 50
    assert run.unproven[-1].reason == "expected 2 tests, 1 ran"


async def test_commands_count_for_what_the_project_itself_expects(make_run: MakeRun) -> None:
    text = "expect_tests = 1\n[[commands]]\nname = 'own'\nrun = 'node --test'"
    run = make_run(project={"a.test.js": TESTED["a.test.js"], "revalid.toml": text})
    assert await run.execute() is Verdict.PASSED


FLAKY = {
    "package.json": json.dumps({"scripts": {"test": "sh bun.sh"}}),
    "bun.sh": """
if [ -e ran ]; then echo "(pass) a [1ms]"; echo " 1 pass"; echo "Ran 1 test across 1 file."
exit; fi
touch ran; echo "(fail) a [1ms]"; echo " 3 pass"; echo " 1 fail"; exit 1
""",
}


@pytest.mark.parametrize(
    ("text", "fields", "verdict"),
    [
        ("", {}, Verdict.FAILED),
        ("flaky = 'pass'", {}, Verdict.INCOMPLETE),
        ("flaky = 'pass'", {"flaky": "fail"}, Verdict.FAILED),
        ("flaky = 'fail'", {"flaky": "pass"}, Verdict.PASSED),
    ],
)
async def test_a_flaky_test_that_the_project_lets_pass_is_not_passed(
    make_run: MakeRun, text: str, fields: dict[str, Any], verdict: Verdict
) -> None:
    run = make_run(project={**FLAKY, "revalid.toml": text}, **fields)
    assert await run.execute() is verdict
    if verdict is Verdict.INCOMPLETE:
        assert run.unproven[-1].words == "test: 1 flaky test passed only by revalid.toml"


@pytest.mark.parametrize(
    ("matrix", "error"),
    [
        (
            {"node": "18"},
            r"the sandbox has node \d\S+, and the matrix asks for node 18: run it with",
        ),
        ({"image": "node:22-alpine3.22"}, "the sandbox has no images, and the matrix asks for"),
    ],
)
async def test_a_sandbox_with_another_version_says_nothing_of_the_project(
    make_run: MakeRun, matrix: dict[str, str], error: str
) -> None:
    run = make_run(project=TESTED, matrix=matrix)
    with pytest.raises(ToolMissing, match=error):
        await run.execute()
    assert run.steps == ()


def node_major() -> str:
    """The major version of the worker's Node, which the table of images has too."""
    shown = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    return shown.stdout.removeprefix("v").partition(".")[0]


async def test_a_sandbox_with_the_version_runs_the_entry(make_run: MakeRun) -> None:
    run = make_run(project=TESTED, matrix={"node": node_major()})
    assert await run.execute() is Verdict.PASSED
