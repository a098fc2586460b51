"""Makes an exam from checked-out collections: ``python -m tests.exam CORPUS EXAM``."""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.exam import exercism, human_eval, railpack
from tests.exam.manifest import Question, write_manifest


def main() -> None:
    """Write the projects, ``manifest.jsonl`` and ``expected.csv`` of the collections found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="a directory of checked-out collections")
    parser.add_argument("exam", type=Path, help="the directory to make")
    parser.add_argument(
        "--shared-install",
        action="store_true",
        help="the worker's PATH and NODE_PATH lead to one install of each Exercism track",
    )
    arguments = parser.parse_args()
    shutil.rmtree(arguments.exam, ignore_errors=True)
    arguments.exam.mkdir(parents=True)
    found = _questions(arguments.corpus, arguments.exam, shared=arguments.shared_install)
    if not (number := write_manifest(arguments.exam, found)):
        parser.error(f"{arguments.corpus}: no collection that this exam knows")
    print(f"{number} projects in {arguments.exam}")


def _questions(corpus: Path, exam: Path, *, shared: bool) -> Iterator[Question]:
    for collection in sorted(corpus.iterdir()):
        if human_eval.is_collection(collection):
            yield from human_eval.questions(collection, exam)
        elif railpack.is_collection(collection):
            yield from railpack.questions(collection, exam)
        elif name := exercism.track_name(collection):
            yield from exercism.questions(exercism.Track(collection, name, shared), exam)


if __name__ == "__main__":
    main()
