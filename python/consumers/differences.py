"""What a consumer runs that a plan does not say."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable


class Differences(list):
    """Sentences, one for each figure that differs."""

    def same(self, what: str, runs: object, planned: object) -> None:
        if runs != planned:
            self.append(f"{what}: {runs} runs, {planned} is planned")


def judge(judged: Callable[[str, str], dict]) -> None:
    """Prints the verdict of each pair of a file and its plan that the command line names."""
    pairs = sys.argv[2:]
    for file, plan in zip(pairs[::2], pairs[1::2]):
        with contextlib.redirect_stdout(sys.stderr):
            verdict = judged(file, plan)
        print(json.dumps(verdict), flush=True)
