"""Entry point of `umsrep` and of `python -m umsrep`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line.

    Returns:
        The exit status: 0 done, 2 wrong input.
    """
    from umsrep.tasks.cli import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
