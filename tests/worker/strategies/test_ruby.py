"""Projects of Bundler are installed, parsed, checked and tested, those of Rails too."""

import pytest

from tests.worker.strategies.conftest import Files, PlanOf, commands, skips, steps_by_name


def test_a_project_is_installed_parsed_and_tested(plan_of: PlanOf) -> None:
    files = {"Gemfile": "gem 'rspec'\n", "Gemfile.lock": "", "lib/a.rb": "", "spec/a_spec.rb": ""}
    plan = plan_of(files)
    assert list(commands(plan)) == ["install", "syntax", "test"]
    assert "BUNDLE_FROZEN=true\nbundle install" in commands(plan)["install"]
    assert commands(plan)["test"].endswith("\nbundle exec rspec")
    assert steps_by_name(plan)["install"].cacheable


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"bin/rails": "", "test/models/a_test.rb": ""}, "db:test:prepare && bin/rails test"),
        ({"Rakefile": "Rake::TestTask.new", "test/a_test.rb": ""}, "bundle exec rake test"),
        ({"test/test_a.rb": ""}, "File.expand_path(file) }'"),
    ],
)
def test_the_runner_follows_from_the_project(plan_of: PlanOf, files: Files, command: str) -> None:
    plan = plan_of({"Gemfile": "", "lib/a.rb": "", **files})
    assert commands(plan)["test"].replace('"\'"', "").endswith(command)


def test_without_tests_they_are_absent(plan_of: PlanOf) -> None:
    plan = plan_of({"Gemfile": "", "lib/a.rb": ""})
    assert skips(plan)["test"] == "no *_spec.rb in spec/ and no test in test/"


def test_a_gemfile_alone_beside_another_language_takes_no_image(plan_of: PlanOf) -> None:
    plan = plan_of({"Gemfile": "", "package.json": {"scripts": {"test": "jest"}}})
    assert plan.strategy == "npm"
    assert "not covered by a check: nothing to check in Gemfile" in plan.notes


@pytest.mark.parametrize(
    ("files", "image"),
    [
        ({"Gemfile": ""}, "ruby:3.3"),
        ({"Gemfile": 'ruby "3.2.2"\n'}, "ruby:3.2.2"),
        ({"Gemfile": 'ruby file: ".ruby-version"\n', ".ruby-version": "3.4.1\n"}, "ruby:3.4.1"),
        ({"Gemfile": 'ruby "~> 3.2.0"\n'}, "ruby:3.2"),
        ({"Gemfile": 'ruby ">= 3.1", "< 3.3"\n'}, "ruby:3.2"),
        ({"Gemfile": "", ".ruby-version": "ruby-3.4.1"}, "ruby:3.4"),
        ({"Gemfile": "", "Gemfile.lock": "RUBY VERSION\n   ruby 3.1.4p2\n"}, "ruby:3.1"),
    ],
)
def test_a_pinned_release_is_taken_exactly(plan_of: PlanOf, files: Files, image: str) -> None:
    assert plan_of({**files, "lib/a.rb": ""}).image == image
