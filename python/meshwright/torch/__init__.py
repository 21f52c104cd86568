"""Plans that run: training plans on the processes of torchrun, and profiles of this machine.

    run = meshwright.torch.run(plan, model, loss_fn)
    loss = run.step(inputs, targets)
    measured = run.measure(10, inputs, targets)
"""

from __future__ import annotations

from ._profile import profile
from ._run import Run, run

__all__ = ["Run", "profile", "run"]
