"""Runs ``revalid``, which sends itself a signal at given places of its code.

``python stepped.py PLACES SIGNAL ARGUMENT...``: places are separated by commas, each of the form
FILE:FUNCTION:EVENT:NTH, where FILE is the end of a path, EVENT one of :func:`sys.setprofile`'s, and
``*`` is any. With the place ``count`` it sends nothing, and writes the number of events
of ``*:*:*`` to the file SIGNAL.
"""

import atexit
import os
import sys
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

OURS = ("/producer/", "/jobs/", "subprocess.py", "threading.py", "/concurrent/futures/")


@cache
def is_ours(path: str) -> bool:
    return any(part in path for part in OURS) and "/tests/" not in path


class Steps:
    """Counts events in the main thread, and sends the signal at each place."""

    def __init__(self, places: list[str], number: int) -> None:
        self._places = [place.rsplit(":", 3) for place in places]
        self._number = number
        self._seen = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        path, function, wanted, nth = self._places[0]
        code = frame.f_code
        if not (code.co_filename.endswith(path) if path != "*" else is_ours(code.co_filename)):
            return
        if function not in ("*", code.co_qualname) or wanted not in ("*", event):
            return
        self._seen += 1
        if self._seen == int(nth):
            self._seen = 0
            del self._places[0]
            if not self._places:
                sys.setprofile(None)
            os.kill(os.getpid(), self._number)


class Count:
    """Counts all events, and writes their number at the end."""

    def __init__(self, path: Path) -> None:
        self._seen = 0
        atexit.register(lambda: path.write_text(str(self._seen)))

    def __call__(self, frame: FrameType, _event: str, _: Any) -> None:
        self._seen += is_ours(frame.f_code.co_filename)


if __name__ == "__main__":
    places, told, *arguments = sys.argv[1:]
    counts = places == "count"
    sys.setprofile(Count(Path(told)) if counts else Steps(places.split(","), int(told)))
    from revalid.producer.cli import main

    main(arguments)
