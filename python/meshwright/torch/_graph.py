"""A sharding plan and the exported program that it is of."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import operator
import re
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

import torch
from torch.distributed.tensor import Partial, Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard

from .._errors import MeshwrightError, refused

#: One per axis of the mesh: Shard(d), Replicate(), Partial(), or _StridedShard(d, split_factor=n) of what later axes
#: of n devices have split before.
Placements = Tuple[Any, ...]
Shape = Tuple[int, ...]
#: An axis, its collective (none where it takes its part of what it has) and the placements behind it.
Move = Tuple[int, Optional[str], Placements]
#: The elements of what they read in another form.
RESHAPES = ("view", "_unsafe_view", "reshape", "view_as", "reshape_as", "squeeze", "flatten", "unflatten")


@dataclass
class Entry:
    """An op of the plan: by tensor the placements that it reads and writes."""

    name: str
    inputs: Dict[str, Placements]
    outputs: Dict[str, Placements]


@dataclass
class Back:
    """A backward op: placements of the gradients and stored tensors that it reads, and of what it gives."""

    grads: Dict[str, Placements]
    stored: Dict[str, Placements]
    gives: Dict[str, Placements]


@dataclass
class Call:
    """A call of the graph and how the plan runs it."""

    index: int
    node: Any
    outputs: List[str]
    is_many: bool
    reads: List[str]
    #: By node that it reads; in-place calls change the name of what they write over for later ones.
    names: Dict[Any, str]
    ins: Dict[str, Placements] = field(default_factory=dict)
    outs: List[Placements] = field(default_factory=list)
    backs: List[Back] = field(default_factory=list)
    #: By tensor the name of the contribution to its gradient.
    grads: Dict[str, str] = field(default_factory=dict)
    #: Whether the gradient of the local op, as torch records it, is what the plan states.
    is_recorded: bool = False

    @property
    def op(self) -> str:
        """The name of an operator of ATen, such as `add` for `aten.add_.Tensor`."""
        schema = getattr(self.node.target, "_schema", None)
        return schema.name.split("::")[-1].rstrip("_") if schema else ""


GRAD = re.compile(r"(.*)\.grad(?:\.sum)?(?:\.\d+)?$")


def shard(dim: int, before: int = 1) -> Any:
    """Of an axis that splits a dimension after later axes of so many devices."""
    return Shard(dim) if before == 1 else _StridedShard(dim, split_factor=before)


def dim_of(placement: Any) -> Optional[int]:
    """The dimension that is split."""
    return getattr(placement, "dim", None)


def order(placements: Placements, sizes: Sequence[int], dim: int) -> List[int]:
    """Axes that split a dimension, the one that does so first first; a ValueError where no axes have a stride."""
    axes: List[int] = []
    for axis in reversed(range(len(placements))):
        if dim_of(placements[axis]) == dim:
            before = [math.prod(sizes[of] for of in axes[:n]) for n in range(len(axes) + 1)]
            axes.insert(before.index(getattr(placements[axis], "split_factor", 1)), axis)
    return axes


def splits(placements: Placements) -> Placements:
    """Without partial sums: their local tensors have the shape of replicated ones."""
    return tuple(Replicate() if of.is_partial() else of for of in placements)


class Sharding:
    """Entries of the plan by what they are."""

    def __init__(self, sharding: Mapping[str, Any]) -> None:
        try:
            self.axes = [str(axis["axis"]) for axis in sharding["mesh"]]
            self.sizes = [int(axis["size"]) for axis in sharding["mesh"]]
            entries = [self._entry(raw) for raw in sharding["ops"]]
            planned = [self._planned(raw) for raw in sharding.get("redistributions") or []]
        except (KeyError, TypeError, ValueError) as wrong:
            if isinstance(wrong, MeshwrightError):
                raise
            raise refused("bad-plan", f"the plan's sharding lacks {wrong}") from wrong
        if any(re.match(r"layers\.\d+-\d+\.", entry.name) for entry in entries):
            hint = "export the model with torch.export and plan the .pt2 file"
            raise refused("cannot-run", "the plan is of a config.json, and its ops are those of no program", hint)
        #: By tensor, placements before and placements behind: axes and their collectives.
        self.planned: Dict[Tuple[str, Placements, Placements], List[Tuple[int, str]]] = dict(planned)
        self._ways: Dict[Any, Optional[List[Move]]] = {}
        self.forward: Dict[str, Entry] = {}
        self.backward: Dict[str, List[Entry]] = {}
        self.sums: Dict[str, List[Entry]] = {}
        self.stored: Dict[str, Entry] = {}
        self.losses: Dict[str, Entry] = {}
        for entry in entries:
            first = next(iter(entry.outputs))
            grad = GRAD.fullmatch(first)
            if first.endswith(".stored"):
                self.stored[first[: -len(".stored")]] = entry
            elif grad and entry.name == first:
                self.sums.setdefault(grad[1], []).append(entry)
            elif grad and ".backward" in entry.name:
                self.backward.setdefault(entry.name.split(".backward")[0], []).append(entry)
            elif grad:
                self.losses[next(iter(entry.inputs))] = entry
            else:
                self.forward[first] = entry

    def _entry(self, raw: Mapping[str, Any]) -> Entry:
        name, tensors, inputs = str(raw["op"]), list(raw["tensors"]), raw.get("inputs") or []
        given = [self._placements(own, name) for own in [*inputs, *raw["outputs"]]]
        if len(given) != len(tensors) or not raw["outputs"] or any(len(own) != len(self.sizes) for own in given):
            raise refused("bad-plan", f"op `{name}` of the plan has placements for other tensors or axes")
        n = len(inputs)
        return Entry(name, dict(zip(tensors[:n], given)), dict(zip(tensors[n:], given[n:])))

    def _planned(self, raw: Mapping[str, Any]) -> Tuple[Tuple[str, Placements, Placements], List[Tuple[int, str]]]:
        name = str(raw["tensor"])
        steps = [(self.axes.index(of["axis"]), str(of["operation"])) for of in raw["collectives"]]
        return (name, self._placements(raw["from"], name), self._placements(raw["to"], name)), steps

    def _placements(self, strings: Sequence[str], entry: str) -> Placements:
        def of(text: str) -> Any:
            split = re.fullmatch(r"S\((\d+)\)|_S\((\d+),(\d+)\)", text)
            if split is None and text not in ("R", "P"):
                raise refused("bad-plan", f"op `{entry}` of the plan has a placement `{text}`")
            if split is None:
                return Replicate() if text == "R" else Partial()
            return shard(int(split[1])) if split[1] else shard(int(split[2]), int(split[3]))

        found = tuple(of(text) for text in strings)
        try:
            for dim in {dim_of(own) for own in found} - {None}:
                order(found, self.sizes, dim)  # type: ignore[arg-type]
        except ValueError:
            message = f"op `{entry}` of the plan has placements {', '.join(strings)}, of no order of axes"
            raise refused("bad-plan", message) from None
        return found

    def back(self, entry: Entry) -> Tuple[Back, Dict[str, str]]:
        """A backward op, and by tensor the name of the gradient that it gives."""
        back, names = Back({}, {}, {}), {}
        for name, own in entry.inputs.items():
            grad = GRAD.fullmatch(name)
            if grad:
                back.grads[grad[1]] = own
            else:
                back.stored[name[: -len(".stored")] if name.endswith(".stored") else name] = own
        for name, own in entry.outputs.items():
            of = GRAD.fullmatch(name)
            if of is None:
                raise refused("bad-plan", f"op `{entry.name}` of the plan gives `{name}`, which is no gradient")
            back.gives[of[1]], names[of[1]] = own, name
        return back, names

    def way(self, tensor: str, shape: Shape, given: Placements, wanted: Placements) -> Optional[List[Move]]:
        """Steps from one placement to another: the collectives that the plan states, or else the fewest."""
        key = tensor, shape, given, wanted
        if key not in self._ways:
            planned = self.planned.get((tensor, given, wanted))
            found = self._search(shape, given, wanted, planned) if planned else None
            self._ways[key] = found or self._search(shape, given, wanted, None)
        return self._ways[key]

    def _search(
        self, shape: Shape, given: Placements, wanted: Placements, planned: Optional[List[Tuple[int, str]]]
    ) -> Optional[List[Move]]:
        numbers = itertools.count()
        seen: Set[Any] = set()
        queue: List[Tuple[int, int, int, Placements, List[Move]]] = [(0, 0, next(numbers), given, [])]
        while queue:
            n, _, _, placements, steps = heapq.heappop(queue)
            if placements == wanted and (planned is None or n == len(planned)):
                return steps
            state = placements, n if planned else 0
            if state in seen:
                continue
            seen.add(state)
            for move in self._moves(shape, placements):
                if move[1] is None or planned is None or [move[:2]] == planned[n : n + 1]:
                    way = [*steps, move]
                    heapq.heappush(queue, (n + (move[1] is not None), len(way), next(numbers), move[2], way))
        return None

    def _moves(self, shape: Shape, placements: Placements) -> Iterator[Move]:
        """What one axis may make of a placement: of what it split last in a dimension, of summands, of the whole."""
        for axis, own in enumerate(placements):
            dim = dim_of(own)
            if dim is None and own not in (Replicate(), Partial()):
                continue
            if dim is not None and order(placements, self.sizes, dim)[-1] != axis:
                continue
            before, behind = placements[:axis], placements[axis + 1 :]
            scatter = None if own.is_replicate() else "reduce-scatter" if own.is_partial() else "all-to-all"
            for target in range(len(shape)):
                n = math.prod(size for of, size in zip(placements, self.sizes) if dim_of(of) == target)
                if target != dim and shape[target] % (n * self.sizes[axis]) == 0:
                    later = math.prod(size for of, size in zip(behind, self.sizes[axis + 1 :]) if dim_of(of) == target)
                    yield axis, scatter, (*before, shard(target, later), *behind)
            if not own.is_replicate():
                yield axis, "all-reduce" if own.is_partial() else "all-gather", (*before, Replicate(), *behind)


class Program:
    """Tensors of a graph by the names of plans, and its calls in order."""

    def __init__(self, exported: torch.export.ExportedProgram) -> None:
        self.exported = exported
        #: By name the tensor or number, its kind, and its name in the program.
        self.sources: Dict[str, Any] = {}
        self.kinds: Dict[str, str] = {}
        self.names: Dict[Any, str] = {}
        self.metas: Dict[str, Any] = {}
        #: Names of the program that are one tensor, by that tensor's name in the plan.
        self.tied: Dict[str, List[str]] = {}
        self.user_inputs: List[str] = []
        self.calls: List[Call] = []
        self._taken: Dict[str, int] = {}
        _split_broadcasts(exported.graph_module.graph)
        self._read_sources()
        self._read_calls()

    def _fresh(self, name: str) -> str:
        """Plans number names that are taken."""
        unique = name
        while unique in self._taken:
            self._taken[name] += 1
            unique = f"{name}/{self._taken[name]}"
        self._taken[unique] = 1
        return unique

    def _read_sources(self) -> None:
        exported = self.exported
        specs = {spec.arg.name: spec for spec in exported.graph_signature.input_specs}
        #: Names of tensors by where they lie.
        self._places: Dict[Any, str] = {}
        for node in exported.graph_module.graph.nodes:
            if node.op != "placeholder":
                continue
            spec = specs[node.name]
            if spec.kind.name == "USER_INPUT":
                name = self._fresh(node.name)
                self.user_inputs.append(name)
                self.sources[name] = self.metas[name] = node.meta.get("val")
                self.kinds[name] = spec.kind.name
            else:
                name = self._weight(str(spec.target), spec.kind.name, node.name)
            self.names[node] = name
        # Others are tied to one of these, or read by nothing.
        placed = {target for targets in self.tied.values() for target in targets}
        for target, value in exported.state_dict.items():
            if target not in placed:
                self._weight(target, "PARAMETER" if isinstance(value, torch.nn.Parameter) else "BUFFER")

    def _weight(self, target: str, kind: str, placeholder: Optional[str] = None) -> str:
        """The name in the plan of a parameter, buffer or constant."""
        value = self.exported.state_dict.get(target, self.exported.constants.get(target))
        if not isinstance(value, torch.Tensor) or value.device.type == "meta":
            hint = "export the model with its values"
            raise refused("cannot-run", f"the program has no values of `{target}`", hint)
        place = (value.untyped_storage().data_ptr(), value.storage_offset(), value.shape, value.stride())
        name = self._places.get(place) if value.numel() else None
        if name is None:
            if placeholder is not None:
                self._fresh(placeholder)
            name = self._places[place] = self._fresh(target)
            self.kinds[name], self.sources[name], self.metas[name] = kind, value, value
        self.tied.setdefault(name, []).append(target)
        return name

    def _read_calls(self) -> None:
        graph_module = self.exported.graph_module
        parts: Dict[Any, Dict[int, Any]] = {}
        for node in graph_module.graph.nodes:
            if node.target is operator.getitem and isinstance(node.args[0].meta.get("val"), (list, tuple)):
                parts.setdefault(node.args[0], {})[node.args[1]] = node
        part_nodes = {part for own in parts.values() for part in own.values()}
        for node in graph_module.graph.nodes:
            if node.op == "get_attr":
                self.sources[node.name] = self.metas[node.name] = getattr(graph_module, node.target)
                self.names[node], self.kinds[node.name] = self._fresh(node.name), "CONSTANT_TENSOR"
                self.tied[node.name] = [str(node.target)]
            if node.op != "call_function" or node in part_nodes or "_assert" in str(node.target):
                continue
            if isinstance(node.target, torch._ops.HigherOrderOperator):
                raise refused("cannot-run", f"`{node.name}` is a {node.target}: graphs within graphs are not run")
            value = node.meta.get("val")
            is_many = isinstance(value, (list, tuple))
            outputs, own = [], parts.get(node, {})
            for at, part in enumerate(value if is_many else [value]):
                of = own.get(at) if is_many else node
                name = self._fresh(of.name if of is not None else f"{node.name}_unused_{at}")
                outputs.append(name)
                self.metas[name] = part
                if of is not None:
                    self.names[of] = name
            names = {of: self.names[of] for of in node.all_input_nodes}
            reads = [name for name in dict.fromkeys(names.values()) if isinstance(self.metas[name], torch.Tensor)]
            if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
                self._in_place(node)
            self.calls.append(Call(len(self.calls), node, outputs, is_many, reads, names))
        self._drop_unread()

    def _in_place(self, node: Any) -> None:
        """A write over memory that has no other name later makes a new tensor, which is read from then on."""
        schema, of = node.target._schema, node.args[0] if node.args else None
        written = [own for own in schema.arguments if own.alias_info is not None and own.alias_info.is_write]
        order = {other: at for at, other in enumerate(node.graph.nodes)}
        may_share = [other for other in getattr(of, "users", ()) if other is not node and _may_share(other)]
        if (
            len(written) != 1 or written[0] is not schema.arguments[0] or getattr(of, "op", "") != "call_function"
            or _may_share(of) or any(order[last] > order[node] for other in may_share for last in other.users)
        ):  # fmt: skip
            hint = "export program.run_decompositions({}), which writes over nothing, and plan that"
            raise refused("cannot-run", f"`{node.name}` ({node.target}) writes over a tensor", hint)
        self.names[of] = self.names[node]

    def _drop_unread(self) -> None:
        (output,) = (node for node in self.exported.graph_module.graph.nodes if node.op == "output")
        specs = self.exported.graph_signature.output_specs
        self.outputs = [(spec, self._output(given)) for spec, given in zip(specs, output.args[0])]
        read = {name for _, name in self.outputs if isinstance(name, str)}
        live = []
        for call in reversed(self.calls):
            if read & set(call.outputs):
                live.append(call)
                read.update(call.names.values())
        self.calls = live[::-1]

    def _output(self, given: Any) -> Any:
        return self.names[given] if isinstance(given, torch.fx.Node) else (given,)

    def shapes(self, values: Mapping[str, Any]) -> Dict[str, Shape]:
        """Shapes of all tensors, given the inputs."""
        sizes: Dict[Any, int] = {}
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                for own, size in zip(self.metas[name].shape, value.shape):
                    if not isinstance(own, int):
                        sizes.setdefault(own.node.expr, size)

        def size(own: Any) -> int:
            return own if isinstance(own, int) else int(own.node.expr.subs(sizes))

        found = {}
        for name, meta in self.metas.items():
            if isinstance(meta, torch.Tensor):
                with contextlib.suppress(TypeError):
                    found[name] = tuple(size(own) for own in meta.shape)
        return found


def _split_broadcasts(graph: torch.fx.Graph) -> None:
    """Makes each result of `broadcast_tensors` a call of its own, as plans have it."""
    for node in list(graph.nodes):
        if node.target is not torch.ops.aten.broadcast_tensors.default:
            continue
        for part in list(node.users):
            with graph.inserting_before(part):
                sizes = list(part.meta["val"].shape)
                alone = graph.call_function(torch.ops.aten.expand.default, (node.args[0][part.args[1]], sizes))
            alone.meta = part.meta
            part.replace_all_uses_with(alone)
            graph.erase_node(part)
            alone.name = part.name
        graph.erase_node(node)


def _may_share(node: Any) -> bool:
    """Whether a result may be the memory of an input."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return node.target is not operator.getitem or _may_share(node.args[0])
    name = schema.name.split("::")[-1]
    may_copy = (*RESHAPES, "contiguous", "to", "dropout", "type_as")
    return name in may_copy or any(own.alias_info for own in schema.returns)
