"""``python -m revalid``: the command line."""

from revalid.producer.cli import main

if __name__ == "__main__":
    main()
