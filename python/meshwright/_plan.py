"""Plans at hand."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Dict, Iterator, Optional

from . import _native
from ._ask import path_of, to_json
from ._errors import error, refused

#: Files that every later verb needs again.
_INPUTS = ("model", "cluster", "profile")
#: What the answer for an instance with given costs says of the run beside its solution.
_RUN = ("algorithm", "stop_reason", "gap", "attempts", "run")


class Plan(Mapping):
    """A plan, and what was said of it: a mapping of the command line's `--json` answer.

    `document` is the plan document itself, as `save` writes it.
    """

    def __init__(self, answer: Mapping[str, Any], asked: Optional[Mapping[str, Any]] = None) -> None:
        self.answer: Dict[str, Any] = dict(answer)
        #: The plan document; of an instance with given costs its solution.
        own = self.answer.get("plan")
        of_instance = {name: value for name, value in self.answer.items() if name not in _RUN}
        self.document: Dict[str, Any] = of_instance if own is None else own
        #: As its file was read.
        self._text: Optional[str] = None
        # Relative paths mean what they meant then.
        self.made_for: Dict[str, str] = {
            name: _absolute(asked[name]) for name in _INPUTS if asked and asked.get(name) is not None
        }

    def __getitem__(self, name: str) -> Any:
        return self.answer[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.answer)

    def __len__(self) -> int:
        return len(self.answer)

    @property
    def cost(self) -> Dict[str, Any]:
        """What the judge said when the plan was made; empty where nothing was stated."""
        return self.document.get("cost") or {}

    @property
    def step_time_s(self) -> Optional[float]:
        """Seconds of one step; of an instance its value, whatever its objective."""
        if "value_ns" in self.document:
            return self.document["value_ns"] / 1e9
        return self.cost.get("step_time_s")

    @property
    def bound(self) -> Optional[float]:
        """Seconds that no plan of the space that was searched is below."""
        if "value_ns" in self.document:
            return self.document["bound_ns"] / 1e9
        return self.cost.get("bound_s")

    @property
    def peak_bytes(self) -> Optional[int]:
        """Most bytes that lie on any device at any time; None where the answer does not say."""
        return max((row["peak"] for row in self.memory()), default=None)

    def memory(self) -> "list[Dict[str, Any]]":
        """By device, or by pipeline rank of a training run: `name`, `peak`, `limit` in bytes."""
        training = (self.document.get("training") or {}).get("memory") or []
        devices = (self.answer.get("report") or {}).get("devices") or []
        ranks = [
            {"name": f"rank {rank}", "peak": own["peak_bytes"], "limit": own.get("limit_bytes")}
            for rank, own in enumerate(training)
        ]
        return ranks or [
            {"name": own["id"], "peak": own["peak_memory_bytes"], "limit": own.get("memory_limit_bytes")}
            for own in devices
        ]

    def text(self) -> str:
        """What its file holds."""
        return self._text if self._text is not None else to_json(self.document, indent=2) + "\n"

    @property
    def sha256(self) -> str:
        """Of its file, as exported folders and measured runs name it."""
        import hashlib

        return hashlib.sha256(self.text().encode()).hexdigest()

    def save(self, path: Any, *, force: bool = False) -> None:
        """Writes the plan's file; one that exists is replaced with `force` alone."""
        refusal = _native.write_file(path_of(path), self.text(), bool(force))
        if refusal is not None:
            raise error(json.loads(refusal))

    def __repr__(self) -> str:
        known = {"step_time_s": self.step_time_s, "peak_bytes": self.peak_bytes, "bound": self.bound}
        return f"Plan({', '.join(f'{name}={value!r}' for name, value in known.items())})"

    def _repr_html_(self) -> str:
        from ._page import page

        return page(self)


def load(path: Any, *, model: Any = None, cluster: Any = None, profile: Any = None) -> Plan:
    """Reads a plan's file; with what it was made for, later verbs need not be told again."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
        document = json.loads(text)
    except (OSError, ValueError, TypeError, RecursionError) as failed:
        raise refused("unreadable", f"`{str(path)[:99]}` can not be read as a plan: {failed}") from failed
    if not isinstance(document, dict) or not str(document.get("format", "")).startswith("meshwright."):
        raise refused("bad-plan", f"`{path}` is no plan of meshwright")
    plan = Plan({"plan": document}, {"model": model, "cluster": cluster, "profile": profile})
    plan._text = text
    return plan


#: Of the document that `Run.measure` writes.
MEASURED = "meshwright.measured/1"


def of_path(plan: Any) -> Any:
    """What a verb takes for a plan: a `Plan`, or the path of its file."""
    if isinstance(plan, Plan) or not isinstance(plan, Mapping):
        return plan
    # A measured run has a member `plan` of its own.
    is_answer = "plan" in plan and plan.get("format") != MEASURED
    return Plan(plan if is_answer else {"plan": plan})


def _absolute(path: Any) -> str:
    return os.path.abspath(path_of(path))
