"""A forward pass of a sharded program, and how autograd runs back through it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Dict, Sequence, Tuple

import torch
from torch.distributed.tensor import DTensor, Replicate

from .._errors import refused
from ._graph import Call, Placements, Shape
from ._local import BY_FORM, Gradients, Local

if TYPE_CHECKING:
    from ._matched import Matched


class Step:
    """Tensors of a forward pass, and what its backward pass reads."""

    def __init__(self, run: "Matched", shapes: Dict[str, Shape], number: int) -> None:
        self.run, self.shapes, self.number = run, shapes, number
        self.numbers: Dict[str, Any] = {}
        #: By tensor as its op gives it: with the graph of autograd, and without.
        self.env: Dict[str, DTensor] = {}
        self.plain: Dict[str, DTensor] = {}
        self.fans: Dict[str, DTensor] = {}
        self.moved: Dict[Tuple[str, Placements], DTensor] = {}
        self.stored: Dict[str, DTensor] = {}
        self.read: Dict[Tuple[str, Placements], DTensor] = {}
        self.reads_left = dict(run.n_reads)
        self.roots_left = dict(run.n_roots)

    def set(self, name: str, value: DTensor) -> None:
        run = self.run
        self.env[name] = value
        self.plain[name] = run.wrap(_local_of(value).detach(), value.placements, self.shapes[name])
        if not torch.is_grad_enabled():
            return
        if name in run.n_roots and name not in run.program.sources:
            self.store(name)
        grads = run.contributions.get(name, [])
        if value.requires_grad and (len(grads) > 1 or name in run.trained):
            self.fans.update(zip(grads, Fan.apply(self, name, value)))

    def get(self, name: str, placements: Placements) -> DTensor:
        """A tensor in the placements that an op reads, without autograd."""
        key = name, placements
        if key not in self.moved:
            self.moved[key] = self.run.move(self.plain[name], placements, name)
        return self.moved[key]

    def store(self, name: str) -> None:
        if name not in self.stored:
            self.stored[name] = self.get(name, self.run.plan.stored[name].outputs[f"{name}.stored"])

    def read_stored(self, name: str, placements: Placements) -> torch.Tensor:
        """What a backward op reads; dropped after the last one that does."""
        found, root = self._read(name, placements), self.run.root(name)
        self.roots_left[root] -= 1
        if not self.roots_left[root]:
            self.stored.pop(root, None)
        return found.to_local()

    def _read(self, name: str, placements: Placements) -> DTensor:
        key = name, placements
        if key not in self.read:
            self.read[key] = self.run.move(self._stored(name), placements, f"{name}.stored")
        self.reads_left[key] -= 1
        return self.read[key] if self.reads_left[key] else self.read.pop(key)

    def _stored(self, name: str) -> DTensor:
        viewed = self.run.viewed(name)
        if viewed is None:
            if name not in self.stored:
                raise RuntimeError("the backward pass of a sharded program runs once per forward pass")
            return self.stored[name]
        of, placements = viewed
        source = self._read(of, placements).to_local()
        call, out = self.run.producers[name], self.run.plan.stored[name].outputs[f"{name}.stored"]
        # Of other tensors a view reads the type alone.
        forms = {other: source.new_empty(0, dtype=self.run.program.metas[other].dtype) for other in call.reads}
        values = {**self.numbers, **forms, of: source}
        found = Local(self.run, call, values, {of: placements}, [out] * len(call.outputs)).results()
        return self.run.wrap(found[call.outputs.index(name)], out, self.shapes[name])

    def run_call(self, call: Call) -> None:
        run = self.run
        if not call.outs:
            is_size = call.node.target is torch.ops.aten.sym_size.int
            args = call.node.args
            value = self.shapes[call.names[args[0]]][args[1]] if is_size else run.compute(self, call)[0]
            self.numbers[call.outputs[0]] = value
            return
        for name in call.reads if call.backs else ():
            is_read = name in call.ins or call.op not in BY_FORM
            if is_read and name not in call.grads and self.env[name].requires_grad:
                raise refused("bad-plan", f"`{call.node.name}` has a gradient of `{name}`, and the plan has none")
        values = {name: self.fans.pop(grad, self.env[name]) for name, grad in call.grads.items()}
        passing = [name for name, value in values.items() if value.requires_grad and torch.is_grad_enabled()]
        read = {name: own for back in call.backs for name, own in back.grads.items()}
        if passing and not call.is_recorded:
            outputs = Stated.apply(self, call, passing, *(values[name] for name in passing))
        else:
            given = call.backs[0].gives if passing else {}
            own = {
                name: Into.apply(self, name, self.get(name, call.ins[name]).to_local(), given[name], values[name])
                for name in passing
            }
            with contextlib.nullcontext() if passing else torch.no_grad():
                found = run.compute(self, call, own)
            outputs = [
                OutOf.apply(self, name, at, read[name], local)
                if name in read and local.requires_grad
                else run.wrap(local.detach(), at, self.shapes[name])
                for name, at, local in zip(call.outputs, call.outs, found)
            ]
        for name, value in zip(call.outputs, outputs):
            self.set(name, value)
        self._drop(call)

    def end(self) -> None:
        """What the backward pass reads is in `stored`, and in what torch records."""
        self.env, self.plain, self.moved, self.fans = {}, {}, {}, {}

    def _drop(self, call: Call) -> None:
        """Lets go of what no later op reads."""
        for name in self.run.last_reads.get(call.index, ()):
            self.env.pop(name, None)
            self.plain.pop(name, None)
        for key in self.run.last_moves.get(call.index, ()):
            self.moved.pop(key, None)


def _local_of(value: DTensor) -> torch.Tensor:
    with torch.no_grad():
        return value.to_local()


class Fan(torch.autograd.Function):
    """A tensor for each of the ops that give it a gradient; these are summed as the plan states."""

    @staticmethod
    def forward(ctx: Any, step: Step, name: str, value: DTensor) -> Any:
        ctx.step, ctx.name = step, name
        ctx.set_materialize_grads(False)
        local = value.to_local()
        grads, shape = step.run.contributions[name], step.shapes[name]
        return tuple(step.run.wrap(local.view_as(local), value.placements, shape) for _ in grads)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        step, name, run = ctx.step, ctx.name, ctx.step.run
        run.enter(step)
        last, known = run.contributions[name][0], dict(zip(run.contributions[name], grads))
        for entry in run.plan.sums.get(name, []):
            (out, placements), parts = next(iter(entry.outputs.items())), []
            for own, of in entry.inputs.items():
                if known.get(own) is not None:
                    parts.append(run.move(known[own], of, own).to_local())
            total = sum(parts[1:], parts[0]) if parts else None
            known[out] = None if total is None else run.wrap(total, placements, step.shapes[name])
            last = out
        found = known[last]
        if found is not None and name in run.trained:
            found = run.move(found, run.rest[name], last)
        return None, None, found


class Into(torch.autograd.Function):
    """The local tensor that an op reads; its gradient has the placements that the plan states."""

    @staticmethod
    def forward(ctx: Any, step: Step, name: str, local: torch.Tensor, given: Placements, value: DTensor) -> Any:
        ctx.step, ctx.name, ctx.given = step, name, given
        return local.view_as(local)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        ctx.step.run.enter(ctx.step)
        return None, None, None, None, ctx.step.run.wrap(grad, ctx.given, ctx.step.shapes[ctx.name])


class OutOf(torch.autograd.Function):
    """What an op gives, as a DTensor; its gradient comes in the placements that the backward op reads."""

    @staticmethod
    def forward(ctx: Any, step: Step, name: str, placements: Placements, read: Placements, local: torch.Tensor) -> Any:
        ctx.step, ctx.name, ctx.read = step, name, read
        return step.run.wrap(local.view_as(local), placements, step.shapes[name])

    @staticmethod
    def backward(ctx: Any, grad: DTensor) -> Any:
        run = ctx.step.run
        run.enter(ctx.step)
        return None, None, None, None, run.move(grad, ctx.read, run.totals[ctx.name]).to_local()


class Stated(torch.autograd.Function):
    """A call with backward ops that read other placements than it leaves, or are given by a formula."""

    @staticmethod
    def forward(ctx: Any, step: Step, call: Call, names: Sequence[str], *values: DTensor) -> Any:
        ctx.step, ctx.call, ctx.names = step, call, names
        ctx.set_materialize_grads(False)
        found = step.run.compute(step, call)
        roots = {step.run.root(name) for back in call.backs for name in back.stored}
        for root in roots & step.run.program.sources.keys():
            step.store(root)
        parts = zip(call.outputs, found, call.outs)
        outputs = tuple(step.run.wrap(own, at, step.shapes[name]) for name, own, at in parts)
        ctx.mark_non_differentiable(*(own for own in outputs if not own.dtype.is_floating_point))
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        step, call, run = ctx.step, ctx.call, ctx.step.run
        run.enter(step)
        needs = [name for name, needed in zip(ctx.names, ctx.needs_input_grad[3:]) if needed]
        given, moved, found = dict(zip(call.outputs, grads)), {}, {}
        for back in call.backs:
            wanted = [name for name in back.gives if name in needs]
            if not wanted or all(given[name] is None for name in back.grads):
                continue
            for name, at in back.grads.items():
                if (name, at) not in moved:
                    shape, dtype = run.local_shape(step.shapes[name], at, name), run.program.metas[name].dtype
                    zeros = torch.zeros(shape, dtype=dtype, device=run.device) if given[name] is None else None
                    grad = run.move(given[name], at, run.totals[name]).to_local() if zeros is None else zeros
                    moved[name, at] = grad
            own = {name: moved[name, at] for name, at in back.grads.items()}
            stored = {name: step.read_stored(name, at) for name, at in back.stored.items()}
            with torch.no_grad():
                results = Gradients(run, call, back, own, stored, wanted).results()
            for name, grad in results.items():
                found[name] = run.wrap(grad, back.gives[name], step.shapes[name])
        return (None, None, None, *(found.get(name) for name in ctx.names))


class Leaving(torch.autograd.Function):
    """An output of the program."""

    @staticmethod
    def forward(ctx: Any, step: Step, name: str, given: Placements, moved: DTensor, value: DTensor) -> Any:
        ctx.step, ctx.name, ctx.given = step, name, given
        local = moved.to_local()
        if not moved.dim():
            return local.clone()
        return step.run.wrap(local.view_as(local), moved.placements, step.shapes[name])

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        step, run = ctx.step, ctx.step.run
        run.enter(step)
        if isinstance(grad, DTensor):
            return None, None, None, None, run.move(grad, ctx.given)
        whole = run.wrap(grad, (Replicate(),) * len(ctx.given), step.shapes[ctx.name])
        return None, None, None, None, run.move(whole, ctx.given)
