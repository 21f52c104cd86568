"""What a consumer runs that a plan does not say."""

from __future__ import annotations


class Differences(list):
    """Sentences, one for each figure that differs."""

    def same(self, what: str, runs: object, planned: object) -> None:
        if runs != planned:
            self.append(f"{what}: {runs} runs, {planned} is planned")
