"""Whose fault a failed install is, by the words of real package managers."""

import re
from time import process_time

import pytest

from revalid.jobs.result import StepResult
from revalid.worker.run.install_faults import answer, install_fault, is_install, question

URL = "http://127.0.0.1:9/tiny-thing"
OURS = {
    "npm ci": [
        f"npm error code E503\nnpm error 503 Service Unavailable - GET {URL}",
        f"npm ERR! code E429\nnpm ERR! 429 Too Many Requests - GET {URL}",
        "npm error code ECONNRESET\nnpm error syscall read\nnpm error errno ECONNRESET",
        "npm error code ENOTFOUND\nnpm error syscall getaddrinfo",
        "npm error code ETIMEDOUT",
        "npm error code ENOSPC\nnpm error syscall write",
    ],
    "pnpm install --frozen-lockfile": [
        f" ERR_PNPM_FETCH_503  GET {URL}: Service Unavailable - 503",
        f" ERR_PNPM_META_FETCH_FAIL  GET {URL}: request failed, reason: connect ECONNREFUSED",
        " ENOSPC  ENOSPC: no space left on device, write",
    ],
    "yarn install --frozen-lockfile": [
        'throw new ResponseError\n\nResponseError: Request failed "503 Service Unavailable"',
        f'error Error: {URL}: Request "{URL}" returned a 429',
        "error Error: connect ECONNREFUSED 127.0.0.1:9",
        'error An unexpected error occurred: "https://a.example: getaddrinfo ENOTFOUND a.example".',
    ],
    "yarn install --immutable": [
        "➤ YN0035: │   Response Code: 503 (Service Unavailable)",
        "➤ YN0001: │ RequestError: connect ECONNREFUSED 127.0.0.1:9",
    ],
    "cd app && bun install": [
        f"error: GET {URL} - 503\nerror: tiny-thing@1.0.0 failed to resolve",
        "error: ConnectionRefused downloading package manifest tiny-thing",
    ],
    "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt": [
        "WARNING: Retrying (Retry(total=0, connect=None, read=None)) after connection broken by "
        "'NewConnectionError: Connection refused': /simple/tiny-thing/\n"
        "ERROR: Could not find a version that satisfies the requirement a (from versions: none)\n"
        "ERROR: No matching distribution found for a",
        "  error: subprocess-exited-with-error\n\n"
        "  \u00d7 pip subprocess to install build dependencies did not run successfully.\n"
        "      WARNING: Retrying (Retry(total=0, connect=None)) after connection broken",
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
    ],
    ".venv/bin/uv sync --locked": [
        "error: Request failed after 3 retries in 8s\n  cause: Failed to fetch: `https://a.example`\n"
        "  cause: HTTP status server error (503 Service Unavailable) for url (https://a.example)",
        "error: Request failed\n  cause: Connection refused (os error 111)",
    ],
    ".poetry/bin/poetry install": [
        "  HTTPError\n\n  503 Server Error: Service Unavailable for url"
    ],
    "go mod download": [
        "go: example.com/tiny@v1.0.0: reading http://a.example/v1.0.0.mod: 503 Unavailable",
        'go: example.com/tiny@v1.0.0: Get "http://a.example/v1.0.0.mod": dial tcp: no such host',
    ],
    "cargo fetch": [
        "Caused by:\n  failed to get successful HTTP response from `http://a.example/config.json` "
        "(127.0.0.1), got 503",
        "Caused by:\n  [7] Could not connect to server (Failed to connect to 127.0.0.1 port 9)",
    ],
    "composer install --no-interaction": [
        "    Failed to download a/b from dist: curl error 6 while downloading https://a.example/b: "
        "Could not resolve host: a.example\n    Now trying to download from source",
    ],
    "mvn -B dependency:go-offline": [
        "[ERROR] Could not transfer artifact a:b:pom:1 from/to central (https://a.example): "
        "status code: 503, reason phrase: Service Unavailable (503)"
    ],
    "dotnet restore": ["app.csproj : error NU1301: Unable to load the service index for source x."],
}
SCRIPT = "npm error code ECONNREFUSED\nconnect ECONNREFUSED 127.0.0.1:5432\n"
BLAMED = {
    "npm ci": [
        f"npm error code E404\nnpm error 404 Not Found - GET {URL}",
        "npm error code ETARGET\nnpm error notarget No matching version found for tiny@9.9.9.",
        "npm error code ERESOLVE\nnpm error ERESOLVE could not resolve",
        "npm error code EUSAGE\nnpm error `npm ci` can only install with an existing lockfile",
        f"{SCRIPT}npm error code 1\nnpm error command failed\nnpm error command sh -c node x.js",
        "npm error code 1\nnpm error path /w/node_modules/dep\nnpm error command failed\n"
        "npm error command sh -c node fetch.js\nnpm error connect ECONNREFUSED 127.0.0.1:5432",
        "Error: connect ECONNREFUSED 127.0.0.1:5432",
    ],
    "pnpm install --frozen-lockfile": [
        f"{SCRIPT} ERR_PNPM_FETCH_503  GET x\n ELIFECYCLE  Command failed with exit code 1.",
        " ERR_PNPM_NO_MATCHING_VERSION  No matching version found for tiny@9.9.9 while fetching it",
        " ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with frozen-lockfile",
        f" ERR_PNPM_FETCH_404  GET {URL}: Not Found - 404",
        ". postinstall:  ERR_PNPM_FETCH_503  GET x",
    ],
    "yarn install --frozen-lockfile": [
        'error Couldn\'t find package "no-such-thing" on the "npm" registry.',
        "error /w/node_modules/dep: Command failed.\nExit code: 1\nOutput:\n"
        "error Error: connect ECONNREFUSED 127.0.0.1:5432",
    ],
    "yarn install --immutable": [
        "➤ YN0035: │   Response Code: 404 (Not Found)",
        "➤ YN0000: │ p@workspace:. STDERR connect ECONNREFUSED 127.0.0.1:5432\n"
        "➤ YN0009: │ p@workspace:. couldn't be built successfully (exit code 1)",
        "➤ YN0028: │ The lockfile would have been modified by this install",
    ],
    "bun install": [
        f'{SCRIPT}error: ConnectionRefused\nerror: postinstall script from "p" exited with 1',
        f"error: GET {URL} - 404",
    ],
    ".venv/bin/pip install .": [
        "ERROR: Could not find a version that satisfies a==9 (from versions: 1.0.0)\n"
        "ERROR: No matching distribution found for a==9",
        "  error: subprocess-exited-with-error\n\n"
        "  \u00d7 Getting requirements to build wheel did not run successfully.\n"
        "      WARNING: Retrying (Retry(total=0, connect=None)) printed by setup.py",
        "ERROR: ResolutionImpossible: for help visit https://pip.pypa.io",
    ],
    ".venv/bin/uv sync --locked": [
        "error: No solution found when resolving dependencies\n  cause: Because tiny was not found",
        "  \u00d7 Failed to build `app`\n  \u251c\u2500\u25b6 The build backend returned an error\n"
        "  \u2570\u2500\u25b6 Call to build failed (exit status: 1)\n"
        "error: connection refused",
    ],
    "go mod download": [
        "go: example.com/tiny@v1.0.0: reading http://127.0.0.1:9/v1.0.0.mod: 404 Not Found"
    ],
    "cargo fetch": ["error: failed to select a version for the requirement `tiny = '^9'`"],
    "dotnet restore": ["app.csproj : error NU1101: Unable to find package tiny."],
}


def failed(stderr: str = "", exit_code: int = 1, stdout: str = "") -> StepResult:
    return StepResult(name="install", exit_code=exit_code, stdout=stdout, stderr=stderr)


@pytest.mark.parametrize(("command", "text"), [(c, text) for c in OURS for text in OURS[c]])
def test_a_registry_a_network_or_a_machine_is_no_fault_of_the_project(
    command: str, text: str
) -> None:
    for result in (failed(text), failed(stdout=f"\x1b[31m{text}\x1b[0m")):
        fault = install_fault(command, result)
        assert fault is not None
        assert fault.passes
        assert fault.words.partition("; ")[0] in re.sub(r"\n *", "\n", text)


@pytest.mark.parametrize(("command", "text"), [(c, text) for c in BLAMED for text in BLAMED[c]])
def test_what_the_project_is_to_blame_for(command: str, text: str) -> None:
    assert install_fault(command, failed(text)) is None
    assert install_fault(command, failed(stdout=text)) is None


def test_the_words_of_npm_have_the_address() -> None:
    text = f"npm error code E503\nnpm error 503 Service Unavailable - GET {URL}\n"
    fault = install_fault("npm ci", failed(text))
    assert fault is not None
    assert fault.words == (f"npm error code E503; npm error 503 Service Unavailable - GET {URL}")


def test_only_the_manager_that_ran_is_believed() -> None:
    assert install_fault("npm ci", failed(OURS["go mod download"][0])) is None
    assert install_fault("make npm-deps", failed(OURS["npm ci"][0])) is None


def test_an_install_that_passed_or_met_a_limit_has_no_fault() -> None:
    text = OURS["npm ci"][0]
    assert install_fault("npm ci", failed(text, exit_code=0)) is None
    assert install_fault("npm ci", failed(text).model_copy(update={"timed_out": True})) is None


def test_an_install_that_was_killed() -> None:
    fault = install_fault("npm ci", failed(exit_code=137))
    assert fault is not None
    assert "killed" in fault.words
    over = failed(exit_code=137).model_copy(update={"limit_exceeded": "memory"})
    assert install_fault("npm ci", over) is None


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("npm ci", "npm error code ENOTCACHED\nnpm error request to x failed"),
        ("pnpm install", " ERR_PNPM_NO_OFFLINE_META  Failed to resolve tiny@1.0.0"),
        ("uv sync", "hint: Packages were unavailable because the network was disabled. When"),
        ("go mod download", "go: example.com/a@v1: module lookup disabled by GOPROXY=off"),
        ("cargo fetch --offline", "As a reminder, you're using offline mode (--offline) which"),
    ],
)
def test_an_install_without_a_network_on_purpose_is_told_so(command: str, text: str) -> None:
    fault = install_fault(command, failed(text))
    assert fault is not None
    assert not fault.passes, "another try cannot help"
    assert fault.words.startswith("it is told to use no network, and its cache lacks something: ")


NONE = (
    "ERROR: Could not find a version that satisfies tiny-thing (from versions: none)"
    "\nERROR: No matching distribution found for tiny-thing==1.0.0\n"
)


def test_pip_is_asked_why_it_found_no_version() -> None:
    command = "cd api && python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"
    assert install_fault(command, failed(NONE)) is None
    asked = "cd api && .venv/bin/pip index versions -vv tiny-thing"
    assert question(command, failed(NONE)) == asked
    assert question(command, failed("ERROR: No matching distribution found for a; rm b")) is None
    assert question("npm ci", failed(NONE)) is None
    gone = f"Could not fetch URL {URL}/: 404 Client Error: Not Found for url: {URL} - skipping"
    busy = f"Could not fetch URL {URL}/: 502 Server Error: Bad Gateway for url: {URL} - skipping"
    spent = f"Could not fetch URL {URL}/: HTTPConnectionPool: Max retries exceeded with url"
    assert answer(failed(NONE, stdout=gone)) is None
    assert answer(failed(NONE, stdout=busy)) is not None
    assert answer(failed(NONE, stdout=spent)) is not None
    assert answer(failed(exit_code=0)) is not None, "by now the registry has it"


@pytest.mark.parametrize(
    "command",
    ["npm ci", "cd app && npm install --omit=dev", "pip install -r a.txt", "yarn", "uv sync"],
)
def test_one_call_that_installs(command: str) -> None:
    assert is_install(command)


@pytest.mark.parametrize(
    "command", ["npm ci && npm test", "npm test", "npm ci; true", "npm run install", "pip list"]
)
def test_another_command_is_no_install(command: str) -> None:
    assert not is_install(command)


def test_hostile_output_takes_linear_time() -> None:
    words = ("error: ", "[ERROR] ", "go: a: ", " ERR_PNPM_A ", "      WARNING: ", "error build ")
    text = "\n".join(word + "connection " * 10_000 for word in words for _ in range(100))
    text += "x" * 1_000_000
    started = process_time()
    for command in OURS:
        install_fault(command, failed(text))
        is_install(command + " x" * 100_000)
        question(command + " pip" * 100_000, failed(text))
    assert process_time() - started < 10
