"""The ``static`` strategy: pages without a manifest, whose links to local files must resolve."""

from importlib.resources import files

from revalid.jobs.checks import CheckName
from revalid.jobs.errors import InvalidProject
from revalid.jobs.job import StrategyName
from revalid.worker.strategies.plan import Plan, Runtime, check
from revalid.worker.strategies.project_tree import ProjectTree

manifests = ("*.html", "*.htm")
_PAGES = ("index.html", "index.htm")
_ROOTS = (".", "public", "site", "www", "docs", "dist", "build", "src", "html", "static")


def fits(tree: ProjectTree) -> bool:
    """Return whether an ``index.html`` is in the root or in a directory of pages."""
    return _root(tree) is not None


def plan(tree: ProjectTree) -> Plan:
    """Plan the check of the links.

    Raises:
        InvalidProject: There is no page.
    """
    root = _root(tree)
    if root is None:
        raise InvalidProject(
            f"strategy static needs an index.html in one of {', '.join(_ROOTS)}: add one, or give "
            "the commands with --command"
        )
    script = files("revalid.worker.strategies").joinpath("links.py").read_text()
    command = f"python3 -I - {root} <<'END_OF_SCRIPT'\n{script}END_OF_SCRIPT"
    return Plan(
        StrategyName.STATIC,
        f"{'' if root == '.' else f'{root}/'}index.html without a manifest",
        (check(CheckName.LINT, "links", command),),
        ("python3",),
        ("only the links between its own files were checked",),
        runtime=Runtime("python"),
    )


def _root(tree: ProjectTree) -> str | None:
    found = tree.directories_with(*_PAGES)
    return next((directory for directory in _ROOTS if directory in found), None)
