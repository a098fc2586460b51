"""``python -m revalid``: the command line."""

from revalid.producer.cli import main

main()
