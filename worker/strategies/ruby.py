"""The ``ruby`` strategy: projects of Bundler, Rails among them."""

import re
import shlex

from revalid.jobs.checks import CheckName
from revalid.jobs.job import StrategyName
from revalid.worker.strategies.plan import (
    Plan,
    PlannedStep,
    Runtime,
    check,
    guard,
    install,
    skipped,
)
from revalid.worker.strategies.project_tree import ProjectTree
from revalid.worker.strategies.strategy import Language

_SET_UP = (
    'export BUNDLE_PATH="$HOME/.bundle/gems" BUNDLE_GLOBAL_GEM_CACHE=true '
    'BUNDLE_USER_CACHE="${REVALID_GEM_DOWNLOADS:-$HOME/.bundle/cache}"\n'
)
_MINITEST = "Dir['test/**/{test_*,*_test}.rb'].sort.each { |file| require File.expand_path(file) }"
_RAKE_TEST = re.compile(r"TestTask|RSpec::Core::RakeTask|task[ (]:?[\"']?(?:test|spec)\b")
_PINNED = re.compile(r"^ruby[ (]+[\"'](\d+\.\d+\.\d+)[\"']\)?[ \t]*(?:#|$)", re.MULTILINE)
_FROM_FILE = re.compile(r"^ruby[ (]+file:", re.MULTILINE)
_CONSTRAINT = re.compile(r"^ruby[ (]+((?:[\"'][^\"'\n]{1,40}[\"'](?:, ?)?){1,3})", re.MULTILINE)
_FULL = re.compile(r"(?:ruby-)?(\d+\.\d+\.\d+)\Z")
_MINOR = re.compile(r"(?:ruby-)?(\d+\.\d+)")
_LOCKED = re.compile(r"^RUBY VERSION\n +ruby (\d+\.\d+)", re.MULTILINE)


def plan_part(tree: ProjectTree) -> Plan:
    """Plan the install, a syntax check, the type check and the tests of a project."""
    gemfile = tree.head("Gemfile", 1 << 16)
    locked = "Gemfile.lock" in tree.files
    frozen = "export BUNDLE_FROZEN=true\n" if locked else ""
    gems = f"{gemfile}\n{tree.head('Gemfile.lock', 1 << 18)}"
    rails = "bin/rails" in tree.files
    steps = (
        install(f"{_SET_UP}{frozen}bundle install", cacheable=locked),
        _syntax(tree),
        _types(tree),
        _tests(tree, gems, rails=rails),
    )
    return Plan(
        StrategyName.RUBY,
        "Gemfile" + (" of Rails" if rails else ""),
        steps,
        ("ruby", "bundle"),
        () if locked else ("no Gemfile.lock: versions may differ between runs",),
        runtime=_runtime(tree, gemfile),
    )


def _syntax(tree: ProjectTree) -> PlannedStep:
    heads = {path.partition("/")[0] for path in tree.files if path.endswith(".rb")}
    places = sorted(heads & {"app", "lib", "config"})
    places += sorted(name for name in heads if name.endswith(".rb"))
    if not places:
        return skipped(CheckName.BUILD, "syntax", "ruby -c", "no Ruby source", absent=True)
    # Templates of generators are no Ruby.
    listed = " ".join(shlex.quote(f"./{place}") for place in places)
    find = f"find {listed} -name '*.rb' -not -path '*/templates/*' -print0"
    return check(
        CheckName.BUILD, "syntax", f"{guard('ruby')}{find} | xargs -0 -n 1 -P 2 ruby -c >/dev/null"
    )


def _types(tree: ProjectTree) -> PlannedStep:
    depends_on = ("install",)
    if "sorbet/config" in tree.files:
        command = f"{_SET_UP}bundle exec srb tc"
        return check(CheckName.TYPECHECK, "typecheck", command, depends_on)
    if "Steepfile" in tree.files:
        command = f"{_SET_UP}bundle exec steep check"
        return check(CheckName.TYPECHECK, "typecheck", command, depends_on)
    reason = "no Sorbet and no Steep is configured"
    return skipped(CheckName.TYPECHECK, "typecheck", "srb tc", reason, absent=True)


def _tests(tree: ProjectTree, gems: str, *, rails: bool) -> PlannedStep:
    specs = any(path.startswith("spec/") and path.endswith("_spec.rb") for path in tree.files)
    tests = any(
        path.startswith("test/") and path.endswith(".rb") and "test" in path.rpartition("/")[2]
        for path in tree.files
    )
    prepare = "export RAILS_ENV=test\nbin/rails db:test:prepare && " if rails else ""
    if specs and "rspec" in gems:
        command = f"{prepare}bundle exec rspec"
    elif rails and tests:
        command = f"{prepare}bin/rails test"
    elif (specs or tests) and _RAKE_TEST.search(tree.head("Rakefile", 1 << 16)):
        command = f"bundle exec rake {'test' if tests else 'spec'}"
    elif tests:
        command = f"bundle exec ruby -Ilib -Itest -e {shlex.quote(_MINITEST)}"
    else:
        reason = "no *_spec.rb in spec/ and no test in test/"
        return skipped(CheckName.TESTS, "test", "bundle exec rake test", reason, absent=True)
    return check(CheckName.TESTS, "test", f"{_SET_UP}{command}", ("install",))


def _runtime(tree: ProjectTree, gemfile: str) -> Runtime:
    """Return the version that runs; Bundler refuses any other than one that a Gemfile pins."""
    file = tree.head(".ruby-version", 100).strip()
    pinned = _PINNED.search(gemfile) or (_FROM_FILE.search(gemfile) and _FULL.match(file))
    if pinned:
        return Runtime("ruby", pinned[1], "Gemfile", is_exact=True)
    if match := _CONSTRAINT.search(gemfile):
        return Runtime("ruby", match[1].replace("'", "").replace('"', ""), "Gemfile")
    if match := _MINOR.match(file):
        return Runtime("ruby", f"={match[1]}", ".ruby-version")
    match = _LOCKED.search(tree.head("Gemfile.lock", 1 << 18))
    return Runtime("ruby", f"={match[1]}" if match else "", "Gemfile.lock")


RUBY = Language(StrategyName.RUBY, ("Gemfile",), plan_part)
