"""The ``go`` strategy: the modules of a Go project."""

import re

from revalid.jobs.checks import CheckName
from revalid.jobs.job import StrategyName
from revalid.worker.strategies.plan import Plan, PlannedStep, Runtime, check, install, skipped
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.strategy import Language

_SET_UP = 'export GOTOOLCHAIN=auto GOFLAGS="-modcacherw -buildvcs=false $GOFLAGS"'
_DOWNLOAD = f"""{_SET_UP}
if [ -n "$REVALID_GO_DOWNLOADS" ]; then
  GOMODCACHE="$REVALID_GO_DOWNLOADS" go mod download 2>/dev/null
  export GOPROXY="file://$REVALID_GO_DOWNLOADS/cache/download,$(go env GOPROXY)"
fi
go mod download"""
"""Kept downloads serve as a proxy: what the module needs is copied from there."""
_TEST = rf"""{_SET_UP}
pipe="${{TMPDIR:-/tmp}}/revalid-go-test.$$"
rm -f "$pipe" && mkfifo "$pipe" || exit
awk '
/^=== (RUN|PAUSE|CONT|NAME) / {{ next }}
/^ *--- PASS: / {{ passed += /^-/; next }}
/^--- SKIP: / {{ skipped++ }}
/^--- FAIL: / {{ failed++ }}
{{ print; fflush() }}
END {{ printf "go: %d passed, %d failed, %d skipped\n", passed, failed, skipped }}
' <"$pipe" &
go test -v -count=1 ./... >"$pipe" 2>&1
status=$?
wait
exit $status"""
"""Counts the tests of all packages: of a long output only the ends are kept."""
_REQUIRES = re.compile(r"^(?:require|tool)\b", re.MULTILINE)
_VERSION = re.compile(r"^(?:toolchain go|go )(\d{1,2}\.\d{1,3})", re.MULTILINE)
_USES_C = re.compile(r'^import "C"', re.MULTILINE)
_C_MODULES = re.compile(
    r"github\.com/(?:mattn/go-sqlite3|confluentinc/confluent-kafka-go|go-gl/|veandco/go-sdl2"
    r"|h2non/bimg|google/gopacket)"
)
_LOCKS = ("go.mod", "go.sum", "go.work", "go.work.sum")
_MAX_SOURCES = 400


def plan_part(tree: ProjectTree) -> Plan:
    """Plan the download, the build, the vet and the tests of a module."""
    module = tree.head("go.mod", 1 << 16)
    sources = [path for path in sorted(tree.files) if path.endswith(".go")]
    needed = _install(tree, module)
    depends_on = ("install",) if needed.install else ()
    steps = [needed, *_checks(sources, depends_on)]
    runtime = _runtime(tree, module, sources)
    return Plan(StrategyName.GO, "go.mod", tuple(steps), ("go",), runtime=runtime)


def _install(tree: ProjectTree, module: str) -> PlannedStep:
    if "vendor/modules.txt" in tree.files:
        reason = "vendor/ holds the dependencies"
    elif not _REQUIRES.search(module):
        reason = "no dependencies in go.mod"
    else:
        inputs = [path for path in tree.files if path.rpartition("/")[2] in _LOCKS]
        return install(_DOWNLOAD, cacheable="go.sum" in tree.files, inputs=inputs)
    return skipped(CheckName.INSTALL, "install", "go mod download", reason, absent=True)


def _checks(sources: list[str], depends_on: tuple[str, ...]) -> list[PlannedStep]:
    if not sources:
        words = "no .go file"
        return [skipped(CheckName.BUILD, "build", "go build ./...", words, absent=True)]
    # With -o, the program of a single main package is not left in the project.
    build = f"{_SET_UP}\ngo build -o /dev/null ./..."
    vet = f"{_SET_UP}\ngo vet ./..."
    has_tests = any(path.endswith("_test.go") for path in sources)
    return [
        check(CheckName.BUILD, "build", build, depends_on, parallel=False),
        check(CheckName.LINT, "vet", vet, depends_on, allow_failure=True),
        check(CheckName.TESTS, "test", _TEST, depends_on)
        if has_tests
        else skipped(CheckName.TESTS, "test", "go test ./...", "no _test.go file", absent=True),
    ]


def _runtime(tree: ProjectTree, module: str, sources: list[str]) -> Runtime:
    versions = _VERSION.findall(module)
    uses_c = _C_MODULES.search(module) or any(
        _USES_C.search(tree.head(path)) for path in sources[:_MAX_SOURCES]
    )
    wanted = f">={versions[-1]}" if versions else ""
    return Runtime("cgo" if uses_c else "go", wanted, "go.mod")


GO = Language(StrategyName.GO, ("go.mod",), plan_part)
