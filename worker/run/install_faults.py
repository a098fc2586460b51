"""Tells whether a failed install is the project's fault, by its package manager's own error lines.

Scripts of the project and of its dependencies print what they like, a refused connection of their
own among it. Therefore only lines in a package manager's own form count, and a line that blames a
script or a manifest outweighs every other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from revalid.jobs.result import StepResult, StepStatus

_LINES = 400
_LINE = 800
_WORDS = 300
_ESCAPE = re.compile(r"\x1b\[[0-9;]{0,20}[A-Za-z]")
_KILLED = 137


@dataclass(frozen=True, slots=True)
class Fault:
    """How our side failed an install.

    Attributes:
        passes: Whether the same install may succeed soon.
    """

    words: str
    passes: bool = True


@dataclass(frozen=True, slots=True)
class _Manager:
    """How a package manager words its own errors; each pattern matches at the start of a line.

    Attributes:
        called: Matches its call in a command.
        ours: A registry, the network or the machine failed.
        blames: A script, a manifest or a lockfile failed.
        offline: It was told to use no network, and its cache lacks something.
    """

    called: re.Pattern[str]
    ours: re.Pattern[str]
    blames: re.Pattern[str]
    offline: re.Pattern[str] | None


def _manager(
    called: str, *, ours: tuple[str, ...], blames: tuple[str, ...], offline: str = ""
) -> _Manager:
    return _Manager(
        re.compile(rf"(?:^|[\s/;&|(]){called}(?=\s|$)"),
        re.compile("|".join(ours)),
        re.compile("|".join(blames)),
        re.compile(offline) if offline else None,
    )


_CODE = (
    r"(?:ECONN(?:REFUSED|RESET|ABORTED)|ENOTFOUND|EAI_AGAIN|E(?:SOCKET)?TIMEDOUT|EPIPE"
    r"|ERR_SOCKET_TIMEOUT|E(?:HOST|NET)UNREACH|ENOSPC|EDQUOT|EMFILE|ENFILE)\b"
)
_STATUS = r"(?:5\d\d|429|408)\b"
_REFUSED = r"4(?!29|08)\d\d\b"
_UNREACHED = (
    r"(?i:connection (?:refused|reset|closed|timed out|broken|aborted)|connect(?:ion)? timeout"
    r"|could ?n[o']t (?:connect|resolve)|failed to (?:connect|lookup)|timed out|i/o timeout"
    r"|no such host|name or service not known|temporary failure in name resolution"
    r"|network is unreachable|no route to host|unknown ?host|tls handshake|dns error"
    r"|error sending request|no space left on device)"
)
_NPM = r"npm (?:error|ERR!) "
_BERRY = "\u27a4 "
_PIP = r" {0,6}"  # the pip that installs a build's requirements is indented
_UV = r"(?:error: |\s{1,8}(?:\u00d7|\u251c\u2500\u25b6|\u2570\u2500\u25b6|cause:|Caused by:) )"

_MANAGERS = (
    _manager(
        "npm",
        ours=(rf"{_NPM}code (?:{_CODE}|E{_STATUS})",),
        blames=(
            rf"{_NPM}code (?:\d+|ELIFECYCLE|E{_REFUSED}|ETARGET|ERESOLVE|EUSAGE)\s*\Z",
            rf"{_NPM}command ",
        ),
        offline=rf"{_NPM}code ENOTCACHED",
    ),
    _manager(
        "pnpm",
        ours=(
            rf" ?ERR_PNPM_(?:\w{{1,40}}_)?FETCH_{_STATUS}",
            rf" ?ERR_PNPM_\w{{1,60}} .{{0,400}}\b{_CODE}",
            rf" ?{_CODE} ",
        ),
        blames=(" ?ELIFECYCLE ", rf" ?ERR_PNPM_(?:\w{{1,40}}_)?FETCH_{_REFUSED}"),
        offline=r" ?ERR_PNPM_NO_OFFLINE_(?:META|TARBALL)\b",
    ),
    _manager(
        "yarn",
        ours=(
            rf"(?:error |\w{{0,20}}Error: ).{{0,400}}{_CODE}",
            rf"(?:error |ResponseError: ).{{0,400}}(?:Request failed \\?\"|returned a ){_STATUS}",
            rf"{_BERRY}YN0035: .{{0,20}}Response Code: {_STATUS}",
            rf"{_BERRY}YN0001: .{{0,80}}(?:{_CODE}|TimeoutError)",
        ),
        blames=(
            r"error (?:.{0,400}: )?Command failed",
            rf"{_BERRY}YN0(?:009|028|082):",
            rf"{_BERRY}YN0035: .{{0,20}}Response Code: {_REFUSED}",
        ),
        offline=r"error .{0,200}offline",
    ),
    _manager(
        "bun",
        ours=(
            rf"error: [A-Z]{{3,5}} \S{{1,500}} - {_STATUS}",
            r"error: (?:Connection\w{1,20}|FailedToOpenSocket|Timeout|DNS\w{0,20}|NoSpaceLeft)\b",
            r"error: .{0,200}ENOSPC",
        ),
        blames=(r"error: \w{1,20} script from ", rf"error: GET \S{{1,500}} - {_REFUSED}"),
    ),
    _manager(
        r"pip\d?",
        ours=(
            rf"{_PIP}WARNING: Retrying \(Retry\(total=0,",
            rf"{_PIP}ERROR: HTTP error {_STATUS}",
            rf"{_PIP}ERROR: Could not install .{{0,500}}(?:Max retries exceeded|{_UNREACHED})",
            rf"Could not fetch URL \S{{1,400}} (?:.{{0,300}}Max retries exceeded|{_STATUS})",
            r"pip\._vendor\.\S{1,80}(?:Timeout|Connection|Protocol)Error:",
        ),
        blames=(
            r" {0,8}\u00d7 (?!pip subprocess)",
            r"ERROR: (?:Failed building|Failed to build|ResolutionImpossible|Cannot install )",
            r"ERROR: .{0,300}\(from versions: \d",
        ),
    ),
    _manager(
        "uv",
        ours=(rf"{_UV}.{{0,400}}(?:error \({_STATUS}|{_UNREACHED})",),
        blames=(
            rf"{_UV}.{{0,80}}(?:build backend returned an error|failed \(exit (?:status|code))",
        ),
        offline="hint: Packages were unavailable because the network was disabled",
    ),
    _manager(
        "(?:poetry|pdm|pipenv)",
        ours=(
            r" {0,8}(?:5\d\d Server|429 Client) Error",
            r" {0,8}All attempts to connect to ",
            r" {0,8}HTTPS?ConnectionPool\(",
            r"\W{0,8}(?:\w{1,20}\.)*\w{0,20}(?:Timeout|ConnectionError|ConnectError)\b",
            rf"(?:\[?ERROR\]?|error):? .{{0,400}}(?:Max retries exceeded|{_UNREACHED}|{_STATUS})",
        ),
        blames=(
            r" {0,8}\w{0,40}(?:Build|Solver|Resolution)\w{0,20}(?:Error|Failure|Impossible)",
            r" {0,8}Note: This error originates from the build backend",
            r".{0,200}(?:version solving failed|matches any versions)",
            r"pyproject\.toml changed significantly",
        ),
    ),
    _manager(
        "go",
        ours=(rf"(?:go: |\s{{1,8}})\S{{1,300}}: .{{0,500}}(?:: {_STATUS}|{_UNREACHED})",),
        blames=(rf"go: .{{0,500}}(?:: {_REFUSED}|unknown revision|updates to go\.(?:mod|sum))",),
        offline=r"go: .{0,400}lookup disabled by GOPROXY=off",
    ),
    _manager(
        "cargo",
        ours=(
            rf"\s{{1,6}}(?:failed to .{{1,400}}, got {_STATUS}|\[(?:6|7|16|28|35|52|56)\] )",
            rf"error: .{{0,400}}{_UNREACHED}",
        ),
        blames=(
            "error: (?:could not compile|failed to (?:select a version|run custom build)|the lock)",
        ),
        offline="As a reminder, you're using offline mode",
    ),
    _manager(
        "composer",
        ours=(
            r"\s{0,4}(?:Failed to download \S{1,200} from dist: )?curl error (?:6|7|28|35|52|56) ",
            rf"\s{{0,4}}The \"\S{{1,400}}\" file could not be downloaded.{{0,80}}{_STATUS}",
            rf"\s{{0,4}}The \"\S{{1,400}}\" file could not be downloaded.{{0,80}}{_UNREACHED}",
        ),
        blames=(
            r"\s{0,4}Script .{1,300} returned with error code",
            r"\s{0,4}Your requirements could not be resolved",
        ),
        offline=r"\s{0,4}.{0,300}Network disabled, request canceled",
    ),
    _manager(
        "bundle",
        ours=(
            r"Could not (?:fetch specs from|reach host|download gem) ",
            r"(?:Network error while fetching|Bundler::HTTPError|Gem::RemoteFetcher::FetchError)",
        ),
        blames=(r"(?:Gem::Ext::BuildError|Could not find (?:gem|compatible versions))",),
    ),
    _manager(
        "(?:mvn|mvnw)",
        ours=(
            rf"\[(?:ERROR|WARNING)\] .{{0,600}}Could not transfer .{{0,300}}"
            rf"(?:status code: {_STATUS}|{_UNREACHED})",
        ),
        blames=(r"\[ERROR\] (?:COMPILATION ERROR|.{0,600}There are test failures)",),
        offline=r"\[ERROR\] .{0,700}offline mode",
    ),
    _manager(
        "(?:gradle|gradlew)",
        ours=(rf"\s{{0,12}}> .{{0,400}}(?:Received status code {_STATUS}|{_UNREACHED})",),
        blames=(r"> Task \S{1,200} FAILED",),
        offline=r"\s{0,12}> No cached version of .{1,200} available for offline mode",
    ),
    _manager(
        "dotnet",
        ours=(r".{0,300}\berror NU130[01]: ",),
        blames=(r".{0,300}\berror (?:NU110\d|NU1004|CS\d{4})\b",),
    ),
    _manager(
        "deno",
        ours=(rf"error: .{{0,400}}(?:{_UNREACHED}|[ (]{_STATUS})",),
        blames=(r"error: .{0,400}(?:404 Not Found|Could not find)",),
        offline=r"error: .{0,400}--cached-only is specified",
    ),
)

_INSTALL = re.compile(
    r"(?:cd [^\s;&|<>$`]{1,300} && )?(?:[\w./-]{0,200}/)?"
    r"(?:npm (?:ci|install|i)|pnpm (?:install|i)|yarn(?: install)?|bun (?:install|i|ci)"
    r"|(?:python3? -m )?pip3? install|uv (?:sync|pip install)"
    r"|(?:poetry|pdm|pipenv) (?:install|sync)"
    r"|go mod download|cargo fetch|(?:composer|bundle|deno) install|dotnet restore"
    r"|mvnw? [^;&|<>$`]{0,200}dependency:[\w-]{1,40})(?: [^;&|<>$`]{0,500})?\Z"
)
_NPM_ADDRESS = re.compile(rf"{_NPM}(?:\d{{3}} |.{{0,40}}request to ).{{0,200}}://")
_PIP_CALL = re.compile(r"(cd \S{1,300} && )?(?:.{0,1000}[\s&])?((?:\S{0,200}/)?pip\d?) install\b")
_PIP_NONE = re.compile(r"ERROR: No matching distribution found for ([A-Za-z0-9][\w.-]{0,100})")


def is_install(command: str) -> bool:
    """Return whether a command is one call of a package manager that installs, and nothing else."""
    return _INSTALL.match(command.strip()) is not None


def install_fault(command: str, result: StepResult) -> Fault | None:
    """Return how our side failed an install; None if it passed or the project is at fault."""
    if result.status is not StepStatus.FAILED:
        return None
    managers = [manager for manager in _MANAGERS if manager.called.search(command)]
    lines = [*_lines(result.stderr), *_lines(result.stdout)]
    if any(_first(manager.blames, lines) for manager in managers):
        return None
    for manager in managers:
        if line := _first(manager.offline, lines):
            words = f"it is told to use no network, and its cache lacks something: {line}"
            return Fault(words, passes=False)
        if line := _first(manager.ours, lines):
            return Fault(line)
    if result.exit_code == _KILLED:
        return Fault("it was killed (exit 137), as where a machine has no memory left")
    return None


def question(command: str, result: StepResult) -> str | None:
    """Return a command that tells why an install found no version of a package; None without need.

    pip says the same of a package that does not exist and of a registry that answers 503.
    """
    if result.status is not StepStatus.FAILED:
        return None
    pip = _PIP_CALL.match(command)
    found = _PIP_NONE.search(result.stderr)
    if pip is None or found is None or "(from versions: none)" not in result.stderr:
        return None
    return f"{pip[1] or ''}{pip[2]} index versions -vv {found[1]}"


def answer(result: StepResult) -> Fault | None:
    """Return how our side failed the install that :func:`question` asks about, by its answer."""
    if result.exit_code == 0:
        return Fault("pip found no version of a package that the registry has")
    return install_fault("pip", result)


def _lines(text: str) -> list[str]:
    return [_ESCAPE.sub("", line[:_LINE]) for line in text.splitlines()[-_LINES:]]


def _first(pattern: re.Pattern[str] | None, lines: Sequence[str]) -> str:
    """Return the first line that a pattern matches at its start, cut; empty if there is none.

    npm names the code first, and the address some lines later.
    """
    for at, line in enumerate(lines):
        if pattern is not None and pattern.match(line):
            more = (text for text in lines[at + 1 : at + 5] if _NPM_ADDRESS.match(text))
            return "; ".join([line.strip(), *more])[:_WORDS]
    return ""
