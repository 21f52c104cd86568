"""Reading a plan: placements of tensors, and the forward and backward ops of a program with theirs. Nothing here comes from
meshwright."""
import collections
import heapq
import itertools
import json
import math
import re
import typing


# ---------------------------------------------------------------- placements

class Split(typing.NamedTuple):
    """Of a dimension, after later axes whose sizes have this product."""
    dim: int
    before: int = 1


def parse_placements(strings):
    """["R", "P", "S(1)", "_S(1,4)"] -> ("R", "P", Split(1), Split(1, 4))"""
    out = []
    for s in strings:
        m = re.fullmatch(r"S\((-?\d+)\)|_S\((\d+),(\d+)\)", s.strip())
        if m:
            out.append(Split(int(m[1])) if m[1] else Split(int(m[2]), int(m[3])))
        elif s.strip() in ("R", "P"):
            out.append(s.strip())
        else:
            raise ValueError(f"placement {s!r}")
    return tuple(out)


def show(p):
    def one(x):
        return x if isinstance(x, str) else f"S({x.dim})" if x.before == 1 else f"_S({x.dim},{x.before})"
    return ",".join(map(one, p)) if p is not None else "-"


def is_split(p):
    return not isinstance(p, str)


def order(placements, mesh, dim):
    """Axes that split a dimension, the first to do so first."""
    axes = []
    for axis in reversed(range(len(mesh))):
        p = placements[axis]
        if is_split(p) and p.dim == dim:
            at = next((n for n in range(len(axes) + 1) if math.prod(mesh[a] for a in axes[:n]) == p.before), None)
            if at is None:
                raise ValueError(f"no order of axes: {show(placements)}")
            axes.insert(at, axis)
    return axes


def ways(shape, mesh, start, end, collectives):
    """The first of the shortest ways of single axes from one placement to another, as [(axis, operation, placement)]: with
    these collectives in this order, or of none at all (None) with the fewest. Where one takes its part, it has no operation.
    None where there is no way."""
    counter, seen = itertools.count(), set()
    queue = [(0, 0, next(counter), start, [])]
    while queue:
        n, length, _, now, way = heapq.heappop(queue)
        if now == end and collectives in (None, [step[:2] for step in way if step[1]]):
            return way
        if (now, n if collectives else 0) in seen:
            continue
        seen.add((now, n if collectives else 0))
        for axis, p in enumerate(now):
            if is_split(p) and order(now, mesh, p.dim)[-1] != axis:
                continue
            options = []
            for d, size in enumerate(shape):
                others = [a for a, q in enumerate(now) if a != axis and is_split(q) and q.dim == d]
                if size % math.prod(mesh[a] for a in [axis, *others]) or (is_split(p) and p.dim == d):
                    continue
                operation = "all-to-all" if is_split(p) else {"R": None, "P": "reduce-scatter"}[p]
                options.append((operation, Split(d, math.prod(mesh[a] for a in others if a > axis))))
            if p != "R":
                options.append(("all-reduce" if p == "P" else "all-gather", "R"))
            for operation, q in options:
                if operation and collectives is not None and collectives[n:n + 1] != [(axis, operation)]:
                    continue
                step = (axis, operation, (*now[:axis], q, *now[axis + 1:]))
                heapq.heappush(queue, (n + bool(operation), length + 1, next(counter), step[2], [*way, step]))
    return None


def part(size, count, index):
    """First element and number of elements of a part, as torch.chunk cuts."""
    step = -(-size // count)
    start = min(index * step, size)
    return start, min(start + step, size) - start


def bounds(size, dim, placements, mesh, coordinate):
    """Start and length along `dim` of the part at a coordinate of the mesh."""
    start, length = 0, size
    for axis in order(placements, mesh, dim):
        s, length = part(length, mesh[axis], coordinate[axis])
        start += s
    return start, length


def local_shape(shape, placements, mesh, coordinate):
    return [bounds(n, d, placements, mesh, coordinate)[1] for d, n in enumerate(shape)]


def cut(value, placements, mesh, coordinate):
    """The part of a whole tensor by the splits alone (P axes are the caller's business)."""
    for d in range(value.dim()):
        start, length = bounds(value.shape[d], d, placements, mesh, coordinate)
        if length != value.shape[d]:
            value = value.narrow(d, start, length)
    return value


def check_placements(placements, shape, mesh, what):
    if len(placements) != len(mesh):
        raise ValueError(f"{what}: {len(placements)} placements on a mesh of {len(mesh)} axes")
    for p in placements:
        if is_split(p) and not 0 <= p.dim < len(shape):
            raise ValueError(f"{what}: S({p.dim}) of a tensor of {len(shape)} dimensions")
    for d, n in enumerate(shape):
        k = math.prod(mesh[axis] for axis in order(placements, mesh, d))
        if n % k:
            raise ValueError(f"{what}: dimension {d} of {n} elements in {k} parts")


def is_identity(node):
    """Calls that a planner may fold away: copies, casts of a type to itself, dropout of nothing."""
    t = str(node.target)
    if t.startswith(("aten.to.", "aten.alias", "aten.contiguous", "aten.clone", "aten._to_copy")):
        return True
    return t.startswith("aten.dropout") and (node.args[1] == 0.0 or not node.args[2])


# ---------------------------------------------------------------- plan

class Entry:
    def __init__(self, raw):
        self.name = raw["op"]
        n = len(raw.get("inputs", []))
        names = raw["tensors"]
        if len(names) != n + len(raw["outputs"]):
            raise ValueError(f"op {self.name}: {len(names)} tensors, {n} inputs, {len(raw['outputs'])} outputs")
        self.inputs = dict(zip(names[:n], map(parse_placements, raw.get("inputs", []))))
        self.outputs = dict(zip(names[n:], map(parse_placements, raw["outputs"])))


GRAD = re.compile(r"^(.*)\.grad(?:\.sum)?(?:\.(\d+))?$")


class Plan:
    def __init__(self, path, program):
        document = json.load(open(path))
        sharding = document["sharding"]
        self.axes = [a["axis"] for a in sharding["mesh"]]
        self.mesh = [a["size"] for a in sharding["mesh"]]
        self.redistributions = sharding.get("redistributions") or []
        self.program = program
        self.rest, self.forward, self.backward = {}, {}, collections.defaultdict(list)
        self.stored, self.sums, self.other, self.notes, self.loss_entry = {}, collections.defaultdict(list), [], [], None
        R = ("R",) * len(self.mesh)
        self.R = R
        entries = [Entry(r) for r in sharding["ops"]]
        for e in entries:
            e.inputs = {self.first_name(n): p for n, p in e.inputs.items()}
            e.outputs = {self.first_name(n): p for n, p in e.outputs.items()}
        by_output = {}
        for e in entries:
            if ".backward" in e.name:
                self.backward[e.name.split(".backward")[0]].append(e)
            elif ".grad.sum." in e.name:
                self.sums[e.name.split(".grad.sum.")[0]].append(e)
            elif e.name.endswith(".stored"):
                self.stored[next(iter(e.outputs)).removesuffix(".stored")] = e
            elif e.name in ("loss", "loss.backward") and program.loss_of in e.inputs:
                self.loss_entry = e
            elif not e.inputs and any(o in program.sources for o in e.outputs):
                for o, p in e.outputs.items():
                    self.rest[o] = p
            else:
                for o in e.outputs:
                    by_output.setdefault(o, e)
        used = set()
        for op in program.ops:
            for name in [*op.outputs, op.node.name]:
                if name in by_output:
                    self.forward[op.node] = by_output[name]
                    used.add(by_output[name].name)
                    break
        for e in {id(e): e for e in by_output.values()}.values():
            if e.name not in used:
                self.other.append(e)
        # a folded identity has the name of what it copies
        self.root = {}
        for op in program.ops:
            if op.node not in self.forward and is_identity(op.node):
                source = program.name_of[op.node.args[0]]
                self.root[op.outputs[0]] = self.root.get(source, source)
        self.check()

    def check(self):
        for op in self.program.ops:
            e = self.forward.get(op.node)
            if e is None:
                continue
            for n, p in [*e.inputs.items(), *e.outputs.items()]:
                meta = self.program.meta.get(n)
                if meta is None:
                    self.notes.append(f"op {e.name}: no tensor {n} in the graph")
                    continue
                try:
                    check_placements(p, meta[0], self.mesh, f"op {e.name}, tensor {n} {meta[0]}")
                except ValueError as x:
                    self.notes.append(str(x))
            for n in op.reads:
                if self.input_placement(op, n, None) is None:
                    self.notes.append(f"op {e.name} reads {n}, which the plan does not list there (taken as R)")
            extra = [n for n in e.inputs if n not in op.reads and n not in {self.root.get(r) for r in op.reads}]
            if extra:
                self.notes.append(f"op {e.name}: lists inputs that the node does not read: {extra}")
        for n, p in self.rest.items():
            if "P" in p:
                self.notes.append(f"source {n} lies as a partial sum at rest")
            try:
                check_placements(p, self.program.meta[n][0], self.mesh, f"source {n}")
            except ValueError as x:
                self.notes.append(str(x))
        for n in self.program.parameters:
            if n not in self.rest:
                self.notes.append(f"parameter {n} is not in the plan (taken as R)")
        for e in self.other:
            self.notes.append(f"op {e.name} of the plan is no node of the graph")

    def first_name(self, name):
        for second, first in self.program.tied.items():
            if name == second or name.startswith((second + ".grad", second + ".stored")):
                return first + name[len(second):]
        return name

    def lookup(self, table, name):
        if name in table:
            return table[name]
        root = self.root.get(name)
        return table.get(root)

    def input_placement(self, op, name, default):
        e = self.forward.get(op.node)
        if e is None:
            return default
        p = self.lookup(e.inputs, name)
        if p is not None:
            p = self.bias(op, e, name, p)
        return default if p is None else p

    def bias(self, op, e, name, p):
        """A bias beside a split sum is added by the first device of the axis alone."""
        t = str(op.node.target)
        at = {"aten.linear.": 2, "aten.conv": 2, "aten.addmm": 0, "aten.baddbmm": 0}
        at = next((k for n, k in at.items() if t.startswith(n)), None)
        if at is None or at >= len(op.node.args) or op.node.args[at] is None:
            return p
        node = op.node.args[at]
        if not hasattr(node, "name") or self.program.name_of.get(node) != name:
            return p
        out = next(iter(e.outputs.values()))
        return tuple("P" if o == "P" and q == "R" else q for o, q in zip(out, p))

    def output_placement(self, op, name):
        e = self.forward.get(op.node)
        if e is None:
            return self.R
        if name in e.outputs:
            return e.outputs[name]
        if op.node.name in e.outputs:
            return e.outputs[op.node.name]
        return next(iter(e.outputs.values()))

    def backward_of(self, op):
        """[(entry, {tensor: placement read}, {tensor: placement of y.grad}, {tensor: placement of gradient})]; an entry has
        `names`, {tensor: name of the contribution to its gradient}."""
        out = []
        names = [op.node.name, *op.outputs]
        e = self.forward.get(op.node)
        if e is not None:
            names.append(e.name)
        seen = set()
        for name in names:
            for b in self.backward.get(name, ()):
                if id(b) in seen:
                    continue
                seen.add(id(b))
                reads, grads, gives, b.names = {}, {}, {}, {}
                for n, p in b.inputs.items():
                    m = GRAD.match(n)
                    if m:
                        grads.setdefault(m.group(1), p)
                    else:
                        reads[n.removesuffix(".stored")] = p
                for n, p in b.outputs.items():
                    m = GRAD.match(n)
                    if m:
                        gives[m.group(1)], b.names[m.group(1)] = p, n
                    else:
                        self.notes.append(f"op {b.name}: output {n} is no gradient")
                out.append((b, reads, grads, gives))
        return out
