"""Plans that run: training plans on the processes of torchrun, and profiles of this machine.

    run = meshwright.torch.run(plan, model, loss_fn)
    loss = run.step(inputs, targets)
    measured = run.measure(10, inputs, targets)

Gradients exchanged as a plan's table says, in DDP; it needs no planner:

    model = meshwright.torch.exchange(model, "table.json")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._exchange import Exchanged, exchange
    from ._profile import profile
    from ._run import Run, run

#: By name, the module that brings it: `exchange` does not load the compiled part.
_PLACES = {"Exchanged": "_exchange", "Run": "_run", "exchange": "_exchange", "profile": "_profile", "run": "_run"}

__all__ = ["Exchanged", "Run", "exchange", "profile", "run"]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list:
    return sorted({*globals(), *__all__})
