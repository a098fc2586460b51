"""deploy/chart agrees with compose.yaml and the package, and its templates use its values.

The tests do not run Helm: they read a template as YAML, without the parts that Helm fills in.
"""

import re
from itertools import pairwise
from typing import Any

import pytest
import yaml

from revalid import __version__
from revalid.jobs.job import Lane
from revalid.jobs.settings import PREFIX, Settings, load_settings
from revalid.worker.supervisor import END_TIMEOUT_S
from tests.integration.composed import ACL, ROLES, ROOT
from tests.integration.test_compose import (
    DOCKERFILE,
    ENGINE,
    FLOWER,
    METRICS,
    WORKER,
    seconds,
    settings_of,
)

CHART = ROOT / "deploy/chart"
ABOUT: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
VALUES_TEXT = (CHART / "values.yaml").read_text()
VALUES: dict[str, Any] = yaml.safe_load(VALUES_TEXT)
TEMPLATES = {path.name: path.read_text() for path in (CHART / "templates").iterdir()}
ALL = "\n".join(TEMPLATES.values())
OPEN = {"worker.settings", "nodeSelector"}
"""Values that are maps with keys of the user's choice."""


def left(template: str) -> list[dict[str, Any]]:
    """The documents of a template, without Helm's own lines and with 0 for its expressions."""
    text = re.sub(r"(?m)^ *\{\{[^}]*\}\} *\n", "", re.sub(r"(?s)\{\{/\*.*?\*/\}\}\n", "", template))
    return [found for found in yaml.safe_load_all(re.sub(r"\{\{.*?\}\}", "0", text)) if found]


def leaves(values: dict[str, Any], prefix: str = "") -> set[str]:
    """Dotted names of the values; resources and peers are used whole, by their outermost name."""
    found = set()
    for name, value in values.items():
        whole = name == "resources" or prefix + name in OPEN or not isinstance(value, dict)
        found |= {prefix + name} if whole else leaves(value, f"{prefix}{name}.")
    return found


(STATEFUL,) = left(TEMPLATES["worker.yaml"])
POD = STATEFUL["spec"]["template"]["spec"]
(SIDECAR,), (CONTAINER,) = POD["initContainers"], POD["containers"]


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


def test_versions_are_those_of_the_project() -> None:
    assert ABOUT["version"] == ABOUT["appVersion"] == __version__
    assert VALUES["engine"]["image"] == ENGINE["image"]
    assert f"{VALUES['image']}:{ABOUT['appVersion']}" == WORKER["image"]
    assert "image: {{ .Values.image }}:{{ .Chart.AppVersion }}" in TEMPLATES["_helpers.tpl"]


def test_templates_use_each_value_and_no_other() -> None:
    used = {*re.findall(r"\.Values\.([\w.]+)", ALL)}
    assert used == leaves(VALUES)
    assert len(used) < 25


def test_every_value_has_a_comment() -> None:
    lines = [line.strip() for line in VALUES_TEXT.splitlines()]
    for name in (name.rpartition(".")[2] for name in leaves(VALUES)):
        above = [before for before, at in pairwise(lines) if at.startswith(f"{name}:")]
        assert any(line.startswith("#") for line in above), name


def test_engine_is_the_one_of_compose() -> None:
    script = (CHART / "engine.sh").read_text()
    assert script.endswith(ENGINE["entrypoint"][-1])
    assert f"chown 10001:10001 {CONTAINER['volumeMounts'][0]['mountPath']}\n" in script
    assert variables(SIDECAR) == ENGINE["environment"]
    health = ENGINE["healthcheck"]
    probe = SIDECAR["readinessProbe"]
    assert " ".join(probe["exec"]["command"]) == health["test"]
    assert probe["periodSeconds"] == seconds(health["interval"])
    assert probe["timeoutSeconds"] == seconds(health["timeout"])
    assert SIDECAR["startupProbe"]["exec"] == probe["exec"]


def test_engine_starts_before_its_worker_and_ends_after_it() -> None:
    assert SIDECAR["restartPolicy"] == "Always"
    assert ABOUT["kubeVersion"].startswith(">=1.29")  # before, it would be an init container


def test_worker_is_the_one_of_compose() -> None:
    own = {name: value for name, value in WORKER["environment"].items() if value}
    for name in ("REVALID_SANDBOX", "REVALID_LOG_FORMAT", "_EXPERIMENTAL_DAGGER_RUNNER_HOST"):
        assert f"name: {name}, value: {own[name]}" in TEMPLATES["worker.yaml"].replace('"', "")
    health, probe = WORKER["healthcheck"], CONTAINER["readinessProbe"]
    assert probe["exec"]["command"] == ["sh", "-c", health["test"].replace("$$", "$")]
    assert probe["periodSeconds"] == seconds(health["interval"])
    assert probe["failureThreshold"] == health["retries"]
    sockets = [m for c in (SIDECAR, CONTAINER) for m in c["volumeMounts"] if m["name"] == "socket"]
    assert [m["mountPath"] for m in sockets] == ["/run/dagger"] * 2
    assert sockets[1]["readOnly"]


@pytest.mark.parametrize(("name", "service"), [("flower", FLOWER), ("metrics", METRICS)])
def test_watchers_are_those_of_compose(name: str, service: dict[str, Any]) -> None:
    template = TEMPLATES["watchers.yaml"]
    url = re.search(r"127\.0\.0\.1:(\d+)(/\w+)", service["healthcheck"]["test"][-1])
    assert url
    assert f'"{name}" (dict "port" {url[1]} "path" "{url[2]}" ' in template
    (deployment,) = (found for found in left(template) if found["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["periodSeconds"] == seconds(
        service["healthcheck"]["interval"]
    )
    assert container["readinessProbe"]["timeoutSeconds"] == seconds(
        service["healthcheck"]["timeout"]
    )
    for setting in settings_of(service):
        assert setting in template


def test_stopping_waits_for_the_workers_grace_and_the_engines_cache() -> None:
    margin = re.search(r"GracePeriodSeconds: .* \(int \.Values\.worker\.graceS\) (\d+) ", ALL)
    assert margin
    assert int(margin[1]) > END_TIMEOUT_S + seconds(ENGINE["stop_grace_period"])


def test_only_the_engine_is_privileged() -> None:
    assert ALL.count("privileged") == 1
    assert SIDECAR["securityContext"] == {"privileged": True}
    user = re.search(r"--uid (\d+)", DOCKERFILE)
    (helper,) = re.findall(r'(?s)"revalid\.container" -\}\}\n(.*?)\n\{\{- end', ALL)
    assert user and left(helper)[0]["securityContext"] == {
        "runAsUser": int(user[1]),
        "runAsGroup": int(user[1]),
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    ours = ("worker.yaml", "watchers.yaml")  # watchers.yaml is a loop around one of each
    assert all(TEMPLATES[name].count('include "revalid.container"') == 1 for name in ours)


def test_pods_get_no_variables_of_services_and_no_token() -> None:
    """A Service ``revalid-flower`` would make ``REVALID_FLOWER_PORT``, a setting of ours."""
    for name in ("worker.yaml", "watchers.yaml"):
        assert TEMPLATES[name].count('include "revalid.pod"') == 1
    (helper,) = re.findall(r'(?s)"revalid\.pod" -\}\}\n(.*?)\n\{\{- end', ALL)
    (given,) = left(helper)
    assert given["automountServiceAccountToken"] is given["enableServiceLinks"] is False
    services = [
        found for text in TEMPLATES.values() if "kind: Service\n" in text for found in left(text)
    ]
    assert {s["spec"].get("clusterIP") for s in services if s["kind"] == "Service"} == {"None"}


def test_nothing_but_values_and_secrets_names_a_redis() -> None:
    assert "redis://" not in ALL and "password" not in ALL.lower()
    keys = {*re.findall(r'"([a-z]+)-url"', ALL)} | {"flower", "metrics"}  # made of the part's name
    assert 'print $part "-url"' in ALL
    assert keys == {*ROLES} - {"producer", "archive"}  # the chart runs no archive
    assert all(f"user {role} " in ACL.read_text() and f"{role}-url" in VALUES_TEXT for role in keys)


def test_every_part_has_a_network_policy() -> None:
    for name in ("worker-network.yaml", "watchers.yaml"):
        (policy,) = (found for found in left(TEMPLATES[name]) if found["kind"] == "NetworkPolicy")
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert 'include "revalid.egress"' in TEMPLATES[name]
    assert "ingress:" not in TEMPLATES["worker-network.yaml"]
    assert VALUES["redis"]["peers"] == []  # which would let to everybody, so it must be set
    assert 'required "redis.peers: give the address of Redis" (first .Values.redis.peers)' in ALL


def test_settings_are_known() -> None:
    named = {*re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", ALL + VALUES_TEXT)}
    assert {name.removeprefix(PREFIX).lower() for name in named} <= {*Settings.model_fields}
    worker = VALUES["worker"]
    load_settings(
        {
            "REVALID_CONCURRENCY": str(worker["concurrency"]),
            "REVALID_GRACE_S": str(worker["graceS"]),
        },
        env_file=None,
    )


def test_scaling_counts_the_jobs_of_every_lane() -> None:
    text = TEMPLATES["scaledobject.yaml"]
    lanes = " ".join(f'"{lane}"' for lane in Lane)
    assert '$state := list "queued" "running"' in text
    assert f"$lane := list {lanes}" in text
    formula = re.search("formula: (.*)", text)
    assert formula
    names = {f"{state}_{lane}" for state in ("queued", "running") for lane in Lane}
    assert {*formula[1].split(" + ")} == names
    assert 'valueLocation: revalid_jobs_{{ $state }}{lane="{{ $lane }}"}' in text
    assert "metrics.{{ $.Release.Namespace }}.svc:9555/metrics" in text
