"""Plans that run: training plans on the processes of torchrun, and profiles of this machine.

    run = meshwright.torch.run(plan, model, loss_fn)
    loss = run.step(inputs, targets)
    measured = run.measure(10, inputs, targets)

Gradients exchanged as a plan's table says, in DDP; it needs no planner:

    model = meshwright.torch.exchange(model, "table.json")

An exported program that runs as a sharding plan says, with DTensor; it needs no planner either:

    model = meshwright.torch.shard("plan.json", "model.pt2")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._exchange import Exchanged, exchange
    from ._profile import profile
    from ._run import Run, run
    from ._shard import shard

#: By name, the module that brings it: `exchange` and `shard` do not load the compiled part.
_PLACES = {
    "Exchanged": "_exchange",
    "Run": "_run",
    "exchange": "_exchange",
    "profile": "_profile",
    "run": "_run",
    "shard": "_shard",
}

__all__ = ["Exchanged", "Run", "exchange", "profile", "run", "shard"]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list:
    return sorted({*globals(), *__all__})
