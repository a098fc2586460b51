"""A module's test has the module's path; modules that are tested elsewhere are listed."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("jobs", "worker", "producer")
ELSEWHERE = {
    "jobs/atomic_write.py": "tests/worker/test_outbox.py",
    "jobs/clock.py": "tests/jobs/ledger/test_ledger_clock.py",
    "jobs/constants.py": "tests/jobs/test_settings.py",
    "jobs/ledger/record.py": "tests/jobs/ledger/test_ledger.py",
    "jobs/ledger/scripts.py": "tests/jobs/ledger/test_ledger_model.py",
    "jobs/projects/toml.py": "tests/worker/strategies/test_project_tree.py",
    "jobs/projects/tar_reader.py": "tests/jobs/projects/test_tarball_hostile.py",
    "jobs/trace_context.py": "tests/integration/test_traces.py",
    "jobs/valkey_binary.py": "tests/producer/local/test_broker.py",
    "worker/__main__.py": "tests/integration/test_worker_ends.py",
    "worker/app.py": "tests/integration/test_worker.py",
    "worker/claimed_job.py": "tests/integration/test_worker_ends.py",
    "worker/dry_run.py": "tests/producer/cli/batch/test_actions_faults.py",
    "worker/event_publisher.py": "tests/faults/test_broker.py",
    "worker/flower_app.py": "tests/integration/test_flower.py",
    "worker/heartbeat.py": "tests/faults/test_broker.py",
    "worker/maintenance.py": "tests/worker/test_retention.py",
    "worker/reaper.py": "tests/faults/test_doorbells.py",
    "worker/resources.py": "tests/integration/test_worker.py",
    "worker/result_builder.py": "tests/integration/test_worker.py",
    "worker/results.py": "tests/faults/test_broker.py",
    "worker/task_outcome.py": "tests/integration/test_flower.py",
    "worker/tracing.py": "tests/integration/test_traces.py",
    "worker/run/summary_rules.py": "tests/worker/run/test_runner_summaries.py",
    "worker/sandboxes/local/reports.py": "tests/contract/test_reports.py",
    "worker/run/file_steps.py": "tests/worker/run/test_replay.py",
    "worker/run/rendering.py": "tests/contract/test_render.py",
    "worker/run/session.sh": "tests/worker/run/test_session.py",
    "worker/run/tool_versions.py": "tests/worker/run/test_replay.py",
    "worker/sandboxes/factory.py": "tests/worker/run/test_runner.py",
    "worker/sandboxes/limits.py": "tests/contract/test_limits.py",
    "worker/sandboxes/shielding.py": "tests/contract/test_exec_ends.py",
    "worker/sandboxes/staging.py": "tests/contract/test_transfer.py",
    "worker/sandboxes/dagger/cli_session.py": "tests/integration/test_worker_engine.py",
    "worker/sandboxes/dagger/containers.py": "tests/contract/test_user.py",
    "worker/sandboxes/dagger/package_caches.py": "tests/worker/sandboxes/dagger/test_sandbox.py",
    "worker/sandboxes/dagger/probe.py": "tests/integration/test_worker_engine.py",
    "worker/sandboxes/local/capture.py": "tests/contract/test_exec.py",
    "worker/sandboxes/local/files.py": "tests/contract/test_files.py",
    "worker/sandboxes/local/argument_file.py": "tests/worker/sandboxes/local/test_bubblewrap.py",
    "worker/sandboxes/local/orphan_reaper.py": "tests/worker/sandboxes/local/test_process.py",
    "worker/sandboxes/local/process_tree.py": "tests/worker/sandboxes/local/test_process.py",
    "worker/sandboxes/local/usage_monitor.py": "tests/contract/test_limits.py",
    "worker/strategies/dispatch.py": "tests/worker/strategies/test_plan.py",
    "worker/strategies/__main__.py": "tests/worker/strategies/test_registry.py",
    "worker/strategies/strategy.py": "tests/worker/strategies/test_go.py",
    "worker/strategies/node/builds.py": "tests/worker/strategies/node/test_workspaces.py",
    "worker/strategies/node/checks.py": "tests/worker/strategies/node/test_npm.py",
    "worker/strategies/node/install_inputs.py": "tests/worker/strategies/node/test_install.py",
    "worker/strategies/node/project.py": "tests/worker/strategies/node/test_npm.py",
    "worker/strategies/wanted_versions.py": "tests/worker/strategies/test_images.py",
    "worker/strategies/python/install.py": "tests/worker/strategies/python/test_checks.py",
    "producer/async_client.py": "tests/producer/test_client.py",
    "producer/metrics.py": "tests/integration/test_metrics.py",
    "producer/archive/schema.py": "tests/producer/archive/test_copier.py",
    "producer/batch/item.py": "tests/producer/batch/test_sources.py",
    "producer/batch/job_fields.py": "tests/producer/batch/test_reader.py",
    "producer/batch/report_rows.py": "tests/producer/cli/batch/test_actions.py",
    "worker/sandboxes/dagger/gate.sh": "tests/contract/test_render.py",
    "worker/sandboxes/dagger/probe.sh": "tests/contract/test_serve.py",
    "worker/strategies/node/start.py": "tests/worker/strategies/test_start.py",
    "worker/strategies/python/start.py": "tests/worker/strategies/test_start.py",
    "producer/cli/command.py": "tests/producer/cli/test_app.py",
    "producer/cli/doctor.py": "tests/producer/cli/test_services.py",
    "producer/cli/groups.py": "tests/producer/cli/test_app.py",
    "producer/cli/options.py": "tests/producer/cli/test_app.py",
    "producer/cli/output.py": "tests/producer/cli/test_app.py",
    "producer/cli/waiting.py": "tests/producer/cli/test_jobs.py",
    "producer/cli/batch/commands.py": "tests/producer/cli/batch/test_actions.py",
    "producer/cli/batch/dry_run.py": "tests/producer/cli/batch/test_actions_faults.py",
    "producer/cli/batch/follow.py": "tests/producer/cli/batch/test_actions.py",
    "producer/cli/batch/progress.py": "tests/producer/cli/batch/test_actions.py",
    "producer/cli/batch/expectations.py": "tests/producer/cli/batch/test_actions.py",
    "producer/local/broker_supervisor.py": "tests/producer/local/test_broker.py",
    "producer/local/worker_command.py": "tests/producer/local/test_workers.py",
    "worker/sandboxes/local/overlay.py": "tests/contract/test_overlay.py",
}
"""The test of each module that has no test of its own; it covers the module's callers."""

MODULES = [
    path.relative_to(ROOT)
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".sh") and path.name != "__init__.py"
]
TESTS = [
    path.relative_to(ROOT)
    for folder in FOLDERS
    for path in (ROOT / "tests" / folder).rglob("test_*.py")
]


def module_of(test: Path) -> Path | None:
    """The module whose path a test has: its name is that of the module, or begins with it."""
    folder = test.parent.relative_to("tests")
    names = {
        module.name.removesuffix(".py").replace(".", "_"): module
        for module in MODULES
        if module.parent == folder
    }
    words = test.stem.removeprefix("test_").split("_")
    prefixes = ("_".join(words[:number]) for number in range(len(words), 0, -1))
    return next((names[prefix] for prefix in prefixes if prefix in names), None)


def test_each_test_has_the_path_of_its_module() -> None:
    assert [str(test) for test in TESTS if module_of(test) is None] == []


def test_each_module_has_a_test_or_is_listed() -> None:
    tested = {str(module_of(test)) for test in TESTS}
    modules = {str(module) for module in MODULES}
    assert modules - tested - ELSEWHERE.keys() == set(), "write a test, or list where it is"
    assert ELSEWHERE.keys() & tested == set(), "it has a test of its own: take it from the list"
    assert ELSEWHERE.keys() - modules == set(), "there is no such module"


def test_each_test_that_is_listed_is_there() -> None:
    assert [test for test in ELSEWHERE.values() if not (ROOT / test).is_file()] == []
