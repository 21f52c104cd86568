"""The command line, as the program `meshwright` is."""

from __future__ import annotations

import signal
import sys

from ._native import run


def main() -> None:
    # The search itself answers Ctrl-C: with the best plan so far, at the second one with nothing.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run(["meshwright", *sys.argv[1:]], [sys.executable, "-m", "meshwright"]))


if __name__ == "__main__":
    main()
