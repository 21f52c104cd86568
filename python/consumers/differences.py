"""What a consumer runs that a plan does not say."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
from collections.abc import Callable


class Differences(list):
    """Sentences, one for each figure that differs."""

    def same(self, what: str, runs: object, planned: object) -> None:
        if runs != planned:
            self.append(f"{what}: {runs} runs, {planned} is planned")


def judge(judged: Callable[[str, dict, pathlib.Path], dict]) -> None:
    """Prints the verdict on each pair of a file and its plan that the command line names: what `judged`
    returns of the file, the plan's document and its folder, or how the consumer refused the file.
    """
    pairs = sys.argv[2:]
    for file, plan in zip(pairs[::2], map(pathlib.Path, pairs[1::2])):
        with contextlib.redirect_stdout(sys.stderr):
            try:
                told = judged(file, json.loads(plan.read_text(encoding="utf-8")), plan.parent)
            except (Exception, SystemExit) as error:  # noqa: BLE001
                told = {"differences": [f"refused: {type(error).__name__}: {error}"]}
        print(json.dumps({"file": file, **told}), flush=True)
