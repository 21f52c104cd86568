"""Plans where and how large models run, with a proof of how far from optimal a plan can be.

Keyword arguments are the fields of a request (`engine/schema/request.schema.json`): the command
line's flags with `_` for `-` (`--dim` is `dims`, `--for` is `executor`). Answers are the documents
that the command line prints with `--json`. What goes wrong is a `MeshwrightError`.

    plan = meshwright.plan("model.onnx", cluster="cluster.yaml", time_limit="10s")
    plan.step_time_s, plan.peak_bytes, plan.bound
"""

from __future__ import annotations

from ._answers import algorithms, compare, explain, export, plan, simulate, support, verify
from ._errors import (
    IllegalPlanError,
    InfeasibleError,
    InputError,
    InternalError,
    Interrupted,
    MeshwrightError,
    NoPlanError,
    UsageError,
)
from ._native import version as _version
from ._plan import Plan, load

__version__ = _version().split(" ", 1)[0]

__all__ = [
    "IllegalPlanError",
    "InfeasibleError",
    "InputError",
    "InternalError",
    "Interrupted",
    "MeshwrightError",
    "NoPlanError",
    "Plan",
    "UsageError",
    "algorithms",
    "compare",
    "explain",
    "export",
    "load",
    "plan",
    "simulate",
    "support",
    "verify",
]



def __getattr__(name: str) -> object:
    # PyTorch is imported by whoever asks for it, and by nobody else.
    if name == "torch":
        import importlib

        return importlib.import_module(".torch", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
