"""A plan matched with its program: which call runs in which placements."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate

from .._errors import refused
from ._graph import Back, Call, Entry, Placements, Program, Shape, Sharding, dim_of, order, splits
from ._local import BY_FORM, PRODUCTS, Local, lacks
from ._step import Step

#: Calls that may do nothing, and are then in no op of a plan.
IDLE = ("alias", "clone", "contiguous", "to", "_to_copy", "dropout")


class Matched:
    """What a device knows of the plan, the program and its place in the mesh."""

    def __init__(self, plan: Sharding, program: Program, mesh: DeviceMesh) -> None:
        self.plan, self.program, self.mesh = plan, program, mesh
        self.device = torch.device(mesh.device_type)
        if self.device.type == "cuda":
            self.device = torch.device("cuda", torch.cuda.current_device())
        self.at = tuple(mesh.get_coordinate() or ())
        self.whole: Placements = (Replicate(),) * len(plan.sizes)
        #: Sizes and numbers of the step that runs.
        self.shapes: Dict[str, Shape] = program.shapes({})
        self.numbers: Dict[str, Any] = {}
        self.step, self.seed = 0, self._seed()
        self._match()
        self._plan_gradients()
        self._plan_reads()

    def _seed(self) -> int:
        """The same on all processes, whatever they were seeded with."""
        seed = torch.randint(2**31, (), dtype=torch.int64).to(self.device)
        for axis in range(len(self.plan.sizes)):
            group = self.mesh.get_group(axis)
            dist.broadcast(seed, dist.get_global_rank(group, 0), group=group)
        return int(seed)

    def _match(self) -> None:
        """Gives each call its entry of the plan, and refuses what has none."""
        plan, program = self.plan, self.program
        self.producers = {name: call for call in program.calls for name in call.outputs}
        self.rest: Dict[str, Placements] = {}
        used: Set[str] = set()
        same: Dict[str, str] = {}
        entries = {name: entry for entry in plan.forward.values() for name in entry.outputs}
        for call in list(program.calls):
            call.reads = list(dict.fromkeys(same.get(name, name) for name in call.reads))
            call.names = {node: same.get(name, name) for node, name in call.names.items()}
            entry = next((entries[name] for name in call.outputs if name in entries), None)
            if entry is not None:
                used.update(name for name in entry.outputs)
                self._fit(call, entry)
            elif any(isinstance(program.metas[name], torch.Tensor) for name in call.outputs):
                same[call.outputs[0]] = self._folded(call)
                program.calls.remove(call)
        program.outputs = [(spec, same.get(name, name)) for spec, name in program.outputs]
        numbers = {name for call in program.calls for name in _numbers(call)}
        for name, entry in plan.forward.items():
            if name in program.sources and not entry.inputs:
                self.rest[name] = entry.outputs[name]
                self.check(name, entry.outputs[name])
                if any(of.is_partial() for of in entry.outputs[name]):
                    raise refused("bad-plan", f"the plan has partial sums of `{name}` at rest")
            elif not used & set(entry.outputs) and name not in numbers:
                hint = "give the program that was planned"
                raise refused("other-model", f"op `{entry.name}` of the plan is not in the program", hint)
        read = {name for call in program.calls for name in call.reads}
        for name in program.sources:
            if name in read and name not in self.rest:
                raise refused("other-model", f"the program reads `{name}`, which the plan lacks")
            if isinstance(program.metas[name], torch.Tensor):
                self.rest.setdefault(name, self.whole)

    def _fit(self, call: Call, entry: Entry) -> None:
        call.outs = [entry.outputs.get(name, next(iter(entry.outputs.values()))) for name in call.outputs]
        for name in call.reads:
            if name in entry.inputs:
                call.ins[name] = entry.inputs[name]
            elif call.op not in BY_FORM:
                message = f"`{call.node.name}` reads `{name}`, and op `{entry.name}` of the plan does not"
                raise refused("other-model", message)
        numbers, node = _numbers(call), call.node.name
        for name in entry.inputs:
            if name not in call.reads and name not in numbers:
                raise refused("other-model", f"op `{entry.name}` of the plan reads `{name}`, and `{node}` does not")
        for name, own in [*call.ins.items(), *zip(call.outputs, call.outs)]:
            self.check(name, own)
        call.backs = []
        for own in self.plan.backward.get(entry.name, []):
            back, names = self.plan.back(own)
            # Numbers are part of the call.
            back.stored = {name: of for name, of in back.stored.items() if name not in numbers}
            known = {*call.ins, *call.outputs}
            is_of_call = known >= {*back.stored} and {*call.outputs} >= {*back.grads} and {*call.ins} >= {*back.gives}
            if not is_of_call:
                raise refused("other-model", f"op `{own.name}` of the plan is no backward pass of `{call.node.name}`")
            for name, placements in [*back.grads.items(), *back.stored.items(), *back.gives.items()]:
                self.check(name, placements)
            call.backs.append(back)
            call.grads.update(names)

    def _folded(self, call: Call) -> str:
        """What a call without an entry passes on: it may do nothing."""
        name, node, metas = f"`{call.node.name}` ({call.node.target})", call.node, self.program.metas
        op = call.op if isinstance(node.target, torch._ops.OpOverload) else ""
        is_idle = op in IDLE and not (op == "dropout" and node.args[1] and node.args[2])
        if not is_idle or len(call.reads) != 1 or metas[call.reads[0]].dtype != metas[call.outputs[0]].dtype:
            hint = "give the program that was planned"
            raise refused("other-model", f"{name} of the program is in no op of the plan", hint)
        return call.reads[0]

    def check(self, name: str, placements: Placements) -> None:
        """Refuses placements that a tensor can't have, as far as its shape is known."""
        if name in self.shapes:
            self.local_shape(self.shapes[name], placements, name)

    def _plan_gradients(self) -> None:
        """By tensor the contributions to its gradient, and which calls run as torch records them."""
        program = self.program
        self.contributions: Dict[str, List[str]] = {}
        self.leaving: Dict[str, Tuple[Placements, str, Placements]] = {}
        #: By tensor the name of its gradient, of which there may be several contributions.
        self.totals: Dict[str, str] = {}
        for name, entry in self.plan.losses.items():
            ((grad, given),) = entry.outputs.items()
            self.contributions.setdefault(name, []).append(grad)
            self.leaving[name] = entry.inputs[name], grad, given
        for call in reversed(program.calls):
            for name, grad in call.grads.items():
                self.contributions.setdefault(name, []).append(grad)
        parameters = [name for name, kind in program.kinds.items() if kind == "PARAMETER"]
        self.trained = {name for name in parameters if program.sources[name].requires_grad} & self.contributions.keys()
        for name, grads in self.contributions.items():
            sums = self.plan.sums.get(name, [])
            self.totals[name] = next(iter(sums[-1].outputs)) if sums else grads[0]
            left = [*grads, *(own for entry in sums for own in entry.outputs)]
            if len(set(left) - {own for entry in sums for own in entry.inputs}) != 1:
                raise refused("bad-plan", f"the plan does not sum all gradients of `{name}`")
        # What depends on parameters that are trained.
        depends = {name for name in parameters if program.sources[name].requires_grad}
        for call in program.calls:
            if any(name in depends for name in call.reads):
                depends.update(call.outputs)
                if not call.backs and any(name in self.contributions for name in call.outputs):
                    message = f"the plan has a gradient of `{call.outputs[0]}`, and no backward pass of it"
                    raise refused("bad-plan", message)
            call.is_recorded = len(call.backs) == 1 and self._is_recorded(call, call.backs[0])
            if call.is_recorded or not call.backs:
                continue
            if self._draws(call):
                if call.op not in ("dropout", "native_dropout"):
                    message = f"`{call.node.name}` draws at random, and its backward pass has other placements"
                    raise refused("cannot-run", message)
                # The mask stays where it was drawn.
                gives = {name: splits(call.ins[name]) for name in call.grads}
                call.backs = [Back({call.outputs[0]: splits(call.outs[0])}, {}, gives)]
                call.is_recorded = True
                continue
            for back in call.backs:
                for name in lacks(call, back, program.metas):
                    message = f"the plan's backward pass of `{call.node.name}` ({call.node.target}) lacks `{name}`"
                    raise refused("cannot-run", message)

    def _is_recorded(self, call: Call, back: Back) -> bool:
        own = {**call.ins, **dict(zip(call.outputs, call.outs))}
        alike = all(splits(own[name]) == splits(of) for name, of in [*back.grads.items(), *back.gives.items()])
        saved = all(own.get(name) == of == self._stored_in(name) for name, of in back.stored.items())
        return alike and saved and call.op not in PRODUCTS

    def _stored_in(self, name: str) -> Optional[Placements]:
        entry = self.plan.stored.get(name)
        return None if entry is None else entry.outputs[f"{name}.stored"]

    def _draws(self, call: Call) -> bool:
        given = {own.name: value for own, value in zip(call.node.target._schema.arguments, call.node.args)}
        given.update(call.node.kwargs)
        if call.op == "scaled_dot_product_attention":
            return bool(given.get("dropout_p"))
        is_random = torch.Tag.nondeterministic_seeded in call.node.target.tags or "dropout" in call.op
        return is_random and given.get("p", 1) != 0 and given.get("train", True) is not False

    def viewed(self, name: str) -> Optional[Tuple[str, Placements]]:
        """Of a stored tensor that is a view: of which one, and the placements in which it reads that."""
        entry = self.plan.stored.get(name)
        if entry is None:
            raise refused("bad-plan", f"a backward pass of the plan reads `{name}`, of which it stores nothing")
        ((of, placements),) = entry.inputs.items()
        return (of[: -len(".stored")], placements) if of.endswith(".stored") else None

    def root(self, name: str) -> str:
        """What is stored of a tensor: that of which it is a view."""
        of = self.viewed(name)
        return next(iter(self.plan.stored[name].inputs)) if of is None else self.root(of[0])

    def _plan_reads(self) -> None:
        """How often stored tensors are read, and after which call others are dropped."""
        self.n_reads: Dict[Tuple[str, Placements], int] = {}
        self.n_roots: Dict[str, int] = {}
        last: Dict[Any, int] = {}
        for call in self.program.calls:
            for name in [*call.reads, *call.outputs]:
                last[name] = call.index
            for key in call.ins.items():
                last[key] = call.index
            for back in () if call.is_recorded else call.backs:
                for key in back.stored.items():
                    self.n_reads[key] = self.n_reads.get(key, 0) + 1
                    root = self.root(key[0])
                    self.n_roots[root] = self.n_roots.get(root, 0) + 1
        # Views of what is stored are made anew for each of their placements.
        keys = list(self.n_reads)
        for name, _ in keys:
            of = self.viewed(name)
            if of is not None:
                if of not in self.n_reads:
                    keys.append(of)
                self.n_reads[of] = self.n_reads.get(of, 0) + 1
        outputs = {name for _, name in self.program.outputs if isinstance(name, str)}
        #: What leaves, or is stored by a later call than the last one that reads it so.
        kept = {(name, own) for name, (own, _, _) in self.leaving.items()}
        kept |= {(name, self._stored_in(name)) for name in self.n_roots if name in self.program.sources}
        self.last_reads: Dict[int, List[str]] = {}
        self.last_moves: Dict[int, List[Tuple[str, Placements]]] = {}
        for key, index in last.items():
            if key in kept:
                continue
            if isinstance(key, tuple):
                self.last_moves.setdefault(index, []).append(key)
            elif key not in outputs and key not in self.program.sources:
                self.last_reads.setdefault(index, []).append(key)

    def bounds(self, size: int, dim: int, placements: Placements) -> Tuple[int, int]:
        start = 0
        for axis in order(placements, self.plan.sizes, dim):
            size //= self.plan.sizes[axis]
            start += self.at[axis] * size
        return start, size

    def local_shape(self, shape: Shape, placements: Placements, name: str) -> Shape:
        parts = [1] * len(shape)
        for of, n in zip(placements, self.plan.sizes):
            dim = dim_of(of)
            if dim is not None:
                if dim >= len(shape):
                    message = f"the plan splits dimension {dim} of `{name}`, of shape {list(shape)}"
                    raise refused("other-model", message)
                parts[dim] *= n
        for dim, (size, n) in enumerate(zip(shape, parts)):
            if size % n:
                raise refused("cannot-run", f"dimension {dim} of `{name}`, of {size}, does not divide into {n} parts")
        return tuple(size // n for size, n in zip(shape, parts))

    def cut(self, value: torch.Tensor, placements: Placements) -> torch.Tensor:
        """The local part of a whole tensor."""
        for dim, size in enumerate(value.shape):
            value = value.narrow(dim, *self.bounds(size, dim, placements))
        return value

    def wrap(self, local: torch.Tensor, placements: Placements, shape: Shape) -> DTensor:
        strides = [math.prod(shape[at + 1 :]) for at in range(len(shape))]
        return DTensor.from_local(
            local, self.mesh, placements, run_check=False, shape=torch.Size(shape), stride=tuple(strides)
        )

    def move(self, value: DTensor, placements: Placements, tensor: str = "") -> DTensor:
        """Redistributes, without autograd: a tensor of the plan by the collectives that it states."""
        if value.placements == placements:
            return value
        shape, given = tuple(value.shape), value.placements
        with torch.no_grad():
            fresh = [at for at, of in enumerate(placements) if of.is_partial() and not given[at].is_partial()]
            if fresh:
                # One summand is the value, the others are zeros.
                whole = tuple(Replicate() if at in fresh else of for at, of in enumerate(placements))
                local = self.move(value, whole, tensor).to_local()
                is_own = all(self.at[at] == 0 for at in fresh)
                return self.wrap(local if is_own else torch.zeros_like(local), placements, shape)
            local = value.to_local()
            if value.dtype == torch.bool:
                # Gloo has no collectives of truth values.
                moved = self.move(self.wrap(local.to(torch.uint8), given, shape), placements, tensor)
                return self.wrap(moved.to_local().bool(), placements, shape)
            way = self.plan.way(tensor, shape, given, placements)
            if way is None:
                # What the program is given may be means, or parts of several sizes.
                return self.wrap(self.cut(value.full_tensor(), placements).contiguous(), placements, shape)
            for axis, collective, to in way:
                local = self._collective(local.contiguous(), axis, collective, dim_of(given[axis]), dim_of(to[axis]))
                given = to
            return self.wrap(local.contiguous(), placements, shape)

    def _collective(
        self, local: torch.Tensor, axis: int, of: Optional[str], source: Optional[int], target: Optional[int]
    ) -> torch.Tensor:
        """What an axis makes of a local tensor: of parts of one dimension parts of another one, or the whole."""
        group, n = self.mesh.get_group(axis), self.plan.sizes[axis]
        if of == "all-reduce":
            found = local.clone()
            dist.all_reduce(found, group=group)
            return found
        if of == "all-gather":
            found = local.new_empty(n * local.shape[0], *local.shape[1:])
            dist.all_gather_into_tensor(found, local, group=group)
            return torch.cat(found.chunk(n), source or 0)
        parts = local.chunk(n, target or 0)
        if of is None:
            return parts[self.at[axis]]
        # Parts lie one behind the other, whatever the dimension is.
        sent = torch.cat(parts)
        if of == "reduce-scatter":
            found = torch.empty_like(parts[0], memory_format=torch.contiguous_format)
            dist.reduce_scatter_tensor(found, sent, group=group)
            return found
        found = torch.empty_like(sent)
        dist.all_to_all_single(found, sent, group=group)
        return torch.cat(found.chunk(n), source or 0)

    @contextlib.contextmanager
    def random(self, call: Call, outs: Sequence[Placements]) -> Iterator[None]:
        """Parts of a tensor draw apart, copies alike."""
        if not self._draws(call):
            yield
            return
        splitting = {axis for own in outs for axis, of in enumerate(own) if dim_of(of) is not None}
        places = tuple(at if axis in splitting else -1 for axis, at in enumerate(self.at))
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(hash((self.seed, self.step, call.index, *places)) % 2**63)
            yield

    def enter(self, step: Step) -> None:
        self.shapes, self.numbers, self.step = step.shapes, step.numbers, step.number

    def compute(self, step: Step, call: Call, own: Mapping[str, torch.Tensor] = {}) -> List[Any]:
        """A call on local tensors: those given, or else what the step has."""
        values: Dict[str, Any] = dict(step.numbers)
        for name in call.reads:
            # A number is computed of whole tensors; where the plan lists no placements the form alone is read.
            by_form = step.plain[name].placements if call.op in BY_FORM else self.whole
            placements = call.ins.get(name, by_form)
            values[name] = own[name] if name in own else step.get(name, placements).to_local()
        if isinstance(call.node.target, torch._ops.OpOverload):
            return Local(self, call, values, call.ins, call.outs or [self.whole] * len(call.outputs)).results()
        node = call.node
        words, more = torch.fx.node.map_arg((node.args, node.kwargs), lambda of: values[call.names[of]])
        return [node.target(*words, **more)]


def _numbers(call: Call) -> Set[str]:
    """Names that a plan may have for numbers in the call."""
    schema = getattr(call.node.target, "_schema", None)
    return {f"{call.node.name}.{own.name}" for own in schema.arguments} if schema else set()
