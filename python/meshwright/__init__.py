"""Plans where and how large models run, with a proof of how far from optimal a plan can be.

Keyword arguments are the fields of a request (`engine/schema/request.schema.json`): the command
line's flags with `_` for `-` (`--dim` is `dims`, `--for` is `executor`). Answers are the documents
that the command line prints with `--json`. What goes wrong is a `MeshwrightError`.

    plan = meshwright.place("model.onnx", cluster="cluster.yaml", time_limit="10s")
    plan.step_time_s, plan.peak_bytes, plan.bound
"""

from __future__ import annotations

from typing import Any as _Any

#: By name, the module that brings it: what needs no planner does not load it.
_PLACES = {
    "_answers": (
        "algorithms",
        "compare",
        "explain",
        "export",
        "infer",
        "place",
        "plan",
        "simulate",
        "solve",
        "support",
        "train",
        "verify",
    ),
    "_errors": (
        "IllegalPlanError",
        "InfeasibleError",
        "InputError",
        "InternalError",
        "Interrupted",
        "MeshwrightError",
        "NoPlanError",
        "UsageError",
    ),
    "_plan": ("Plan", "load"),
}
#: Modules that are loaded when they are asked for.
_MODULES = ("service", "torch")

__all__ = sorted(name for names in _PLACES.values() for name in names)


def __getattr__(name: str) -> _Any:
    import importlib

    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name == "__version__":
        return importlib.import_module("._native", __name__).version().split(" ", 1)[0]
    for place, names in _PLACES.items():
        if name in names:
            module = importlib.import_module(f".{place}", __name__)
            globals().update((own, getattr(module, own)) for own in names)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list:
    return sorted({*globals(), *__all__, *_MODULES, "__version__"})
