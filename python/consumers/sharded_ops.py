"""What both judges share beside `sharded_plan`: reading an exported graph, and running one aten op on local
parts (with those arguments adapted that any executor must adapt: shapes, groups, offsets, divisors of means).

Nothing here comes from meshwright.
"""
import collections
import logging
import math
import operator

import torch
try:
    import transformers.integrations.moe  # registers its own ops of experts
except ImportError:
    pass

from sharded_plan import bounds, check_placements, cut, GRAD, is_identity, is_split, local_shape, order, parse_placements, part, Plan, show, Split, ways  # noqa: F401, the judges take them from here

aten = torch.ops.aten
logging.getLogger("torch._export").setLevel(logging.ERROR)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


# ---------------------------------------------------------------- graph

class Op:
    """One call of the graph: its node, the names of its outputs, the tensors it reads."""

    def __init__(self, node, outputs, many):
        self.node, self.outputs, self.many = node, outputs, many
        self.reads = []  # distinct tensor inputs, names
        self.shapes = []


def whole(shape, values):
    """A shape with the values of its symbols."""
    out = []
    for d in shape:
        if isinstance(d, int):
            out.append(d)
        else:
            expression = d.node.expr
            out.append(int(expression.subs({s: values[str(s)] for s in expression.free_symbols})))
    return tuple(out)


class Program:
    def __init__(self, path, double):
        self.ep = torch.export.load(path)
        self.double = double
        gm = self.ep.graph_module
        self.nodes = list(gm.graph.nodes)
        sig = self.ep.graph_signature
        named = {}
        for spec in sig.input_specs:
            named[spec.arg.name] = (spec.kind.name, spec.target)
        state, constants = self.ep.state_dict, self.ep.constants
        args, kwargs = self.ep.example_inputs or ((), {})
        given = [*torch.utils._pytree.tree_leaves(args), *torch.utils._pytree.tree_leaves(kwargs)]
        self.sources, self.kind = {}, {}   # name -> tensor
        self.name_of = {}                  # node -> name used by plans
        self.meta = {}                     # name -> (shape, dtype)
        users = iter(given)
        self.sizes = {}                    # symbol of a size -> its value
        self.parameters = []
        self.tied, first = {}, {}          # second name of a tensor -> its first
        for n in self.nodes:
            if n.op != "placeholder":
                continue
            kind, target = named[n.name]
            name = target if kind != "USER_INPUT" else n.name
            if kind == "PARAMETER" and state[target].device.type != "meta":
                t = state[target]
                key = (t.untyped_storage().data_ptr(), t.storage_offset(), tuple(t.shape), t.stride())
                if key in first and t.numel():
                    self.tied[name] = first[key]
                    self.name_of[n] = first[key]
                    continue
                first[key] = name
            if kind == "USER_INPUT":
                value = next(users)
            elif target in state:
                value = state[target]
            else:
                value = constants[target]
            self.name_of[n] = name
            if not isinstance(value, torch.Tensor):
                self.sources[name] = value
                self.kind[name] = kind
                continue
            meta = n.meta.get("val")
            if isinstance(meta, torch.Tensor):
                symbols = (of for of in zip(meta.shape, value.shape) if not isinstance(of[0], int))
                self.sizes.update((str(symbol), size) for symbol, size in symbols)
            value = value.detach()
            if double and value.dtype in FLOATS:
                value = value.double()
            self.sources[name], self.kind[name] = value.contiguous(), kind
            self.meta[name] = (tuple(value.shape), value.dtype)
            if kind == "PARAMETER" and state[target].requires_grad:
                self.parameters.append(name)
        self.ops = []
        self.getitems = collections.defaultdict(dict)
        self.constants = {}
        for n in self.nodes:
            if n.op == "get_attr":
                value = getattr(gm, n.target)
                self.name_of[n] = n.name
                self.sources[n.name] = value.double() if double and value.dtype in FLOATS else value
                self.kind[n.name] = "CONSTANT"
                self.meta[n.name] = (tuple(value.shape), value.dtype)
            if n.op == "call_function":
                self.name_of[n] = n.name
                val = n.meta.get("val")
                if isinstance(val, torch.Tensor):
                    self.meta[n.name] = (whole(val.shape, self.sizes), val.dtype)
                if n.target is operator.getitem and isinstance(n.args[0].meta.get("val"), (tuple, list)):
                    self.getitems[n.args[0]][n.args[1]] = n
        for n in self.nodes:
            if n.op != "call_function" or "assert" in str(n.target):
                continue
            if n.target is operator.getitem and n.args[0] in self.getitems:
                continue
            val = n.meta.get("val")
            if isinstance(val, (tuple, list)):
                outs = [self.getitems[n][i].name if i in self.getitems[n] else f"{n.name}[{i}]" for i in range(len(val))]
                for o, v in zip(outs, val):
                    if isinstance(v, torch.Tensor):
                        self.meta[o] = (whole(v.shape, self.sizes), v.dtype)
                op = Op(n, outs, True)
            else:
                op = Op(n, [n.name], False)
            for i in n.all_input_nodes:
                name = self.name_of.get(i)
                if name in self.meta and name not in op.reads:
                    op.reads.append(name)
            self.ops.append(op)
        out = [n for n in self.nodes if n.op == "output"][0].args[0]
        self.outputs = [self.name_of[o] for o in out if isinstance(o, torch.fx.Node)]
        floats = [o for o in self.outputs if self.meta[o][1].is_floating_point]
        scalars = [o for o in floats if self.meta[o][0] == ()]
        self.loss_of = (scalars or floats)[0]
        # what the loss needs
        live, self.live = {self.loss_of}, set()
        for op in reversed(self.ops):
            if live & set(op.outputs):
                self.live.add(op.node)
                live.update(self.name_of[i] for i in op.node.all_input_nodes)

    def loss(self, value):
        return value if value.dim() == 0 else value.pow(2).mean()


def dtype_argument(x, double):
    if double and isinstance(x, torch.dtype) and x in FLOATS:
        return torch.float64
    return x


def linear_gradients(program, op, local, gy, gives):
    """Gradients of `aten.linear` and `aten.addmm` by formula: each reads the other factor and the gradient of the output alone."""
    names = [program.name_of.get(a) if isinstance(a, torch.fx.Node) else None for a in op.node.args]
    x, w, b = (names + [None])[:3]
    is_turned = str(op.node.target) == "aten.addmm.default"
    if is_turned:
        b, x, w = names[:3]
    out = {}
    for n in gives:
        rows = gy.reshape(-1, gy.shape[-1])
        if n == x:
            out[n] = gy @ (local[w].t() if is_turned else local[w])
        elif n == w:
            product = rows.t() @ local[x].reshape(-1, local[x].shape[-1])
            out[n] = product.t() if is_turned else product
        elif n == b:
            out[n] = rows.sum(0)
    return [out[n] for n in gives]


def of_gradient(p):
    """The placement of the gradient that fits a value's placement."""
    return tuple("R" if x == "P" else x for x in p)


# ---------------------------------------------------------------- running one op

class Where:
    """Where a local op runs. `total(value, name)` sums a count over the parts of the tensor `name` (given the local count)."""

    def __init__(self, mesh, coordinate, total):
        self.mesh, self.coordinate, self.total = mesh, coordinate, total
        self.adapted = set()


MEANS = {"aten::mse_loss", "aten::l1_loss", "aten::smooth_l1_loss", "aten::huber_loss", "aten::binary_cross_entropy",
         "aten::binary_cross_entropy_with_logits"}


def run_local(program, op, values, in_placements, out_placements, where):
    """Runs the call of `op` on local tensors. `values`: name -> local tensor or python value of each input node;
    `in_placements`: name -> placements; `out_placements`: one per output. Gives the list of local outputs."""
    node = op.node
    name_of = program.name_of
    double = program.double

    def get(x):
        if isinstance(x, torch.fx.Node):
            return values[name_of[x]]
        return dtype_argument(x, double)

    args = list(torch.fx.node.map_aggregate(node.args, get))
    kwargs = dict(torch.fx.node.map_aggregate(node.kwargs, get))
    if not isinstance(node.target, torch._ops.OpOverload):
        return [node.target(*args, **kwargs)]
    schema = node.target._schema
    name = schema.name
    # Of the identity all processes draw the same mask.
    if name in ("aten::dropout", "aten::feature_dropout"):
        return [args[0].clone()]
    if schema.is_mutable and args and isinstance(args[0], torch.Tensor):
        args[0] = args[0].clone()
    # all arguments by name
    full = {}
    for i, a in enumerate(schema.arguments):
        if i < len(args):
            full[a.name] = args[i]
        elif a.name in kwargs:
            full[a.name] = kwargs[a.name]
    raw = {}
    for i, a in enumerate(schema.arguments):
        if i < len(node.args):
            raw[a.name] = node.args[i]
        elif a.name in node.kwargs:
            raw[a.name] = node.kwargs[a.name]

    def placement_of(argument):
        x = raw.get(argument)
        return in_placements.get(name_of[x]) if isinstance(x, torch.fx.Node) else None

    def global_shape(argument):
        return program.meta[name_of[raw[argument]]][0]

    mesh, at = where.mesh, where.coordinate
    shape = program.meta[op.outputs[0]][0] if op.outputs[0] in program.meta else None
    target = local_shape(shape, out_placements[0], mesh, at) if shape is not None else None

    def call(**changed):
        full.update(changed)
        positional, named = [], {}
        for a in schema.arguments:
            if a.name in full:
                if a.kwarg_only:
                    named[a.name] = full[a.name]
                else:
                    named[a.name] = full[a.name]
        try:
            return node.target(**named)
        except (TypeError, RuntimeError) as x:
            if "unexpected keyword" not in str(x) and "Unknown keyword" not in str(x) and "'self'" not in str(x):
                raise
            return node.target(*args, **kwargs)

    def split_axes(p, dims=None):
        return [] if p is None else [i for i, x in enumerate(p) if is_split(x) and (dims is None or x.dim in dims)]

    if name in ("aten::view", "aten::reshape", "aten::_unsafe_view") and isinstance(raw.get("size", raw.get("shape")), (list, tuple)):
        result = full["self"].reshape(target)
    elif name == "aten::expand_as":
        result = full["self"].expand(target)
    elif name == "aten::expand":
        result = full["self"].expand(target)
    elif name == "aten::unflatten":
        d = full["dim"] % len(global_shape("self"))
        result = full["self"].unflatten(d, target[d:d + len(full["sizes"])])
    elif name in ("aten::new_ones", "aten::new_zeros", "aten::new_full", "aten::new_empty"):
        result = call(size=target)
    elif name == "aten::repeat_interleave" and full.get("output_size") is not None and "self" in full:
        d = full.get("dim")
        result = call(output_size=target[d] if d is not None else target[0])
    elif name == "aten::repeat":
        x = full["self"]
        lead = len(target) - x.dim()
        result = x.repeat([t if i < lead else t // x.shape[i - lead] for i, t in enumerate(target)])
    elif name in ("aten::conv1d", "aten::conv2d", "aten::conv3d", "aten::convolution"):
        groups = full.get("groups", 1)
        x, w = full["input"], full["weight"]
        if x.shape[1] % w.shape[1]:
            raise ValueError(f"convolution of {tuple(x.shape)} with {tuple(w.shape)} in {groups} groups")
        local = x.shape[1] // w.shape[1]
        if local != groups:
            where.adapted.add("groups of a convolution")
        result = call(groups=local)
    elif name == "aten::group_norm":
        x = full["input"]
        groups = full["num_groups"] * x.shape[1]
        if groups % global_shape("input")[1]:
            raise ValueError("a group of a group norm in two parts")
        if x.shape[1] != global_shape("input")[1]:
            where.adapted.add("groups of a group norm")
        result = call(num_groups=groups // global_shape("input")[1])
    elif name == "aten::embedding" and split_axes(placement_of("weight"), (0,)):
        where.adapted.add("embedding of split rows: ids minus an offset, others masked")
        start, length = bounds(global_shape("weight")[0], 0, placement_of("weight"), mesh, at)
        ids = full["indices"] - start
        inside = (ids >= 0) & (ids < length)
        padding = full.get("padding_idx", -1)
        padding = padding - start if padding >= start and padding - start < length else -1
        result = aten.embedding(full["weight"], ids.clamp(0, length - 1), padding) * inside.unsqueeze(-1)
    elif name == "aten::scaled_dot_product_attention" and full.get("is_causal") and split_axes(placement_of("query"), (len(global_shape("query")) - 2,)):
        where.adapted.add("causal attention of split queries: an explicit mask of its rows")
        d = len(global_shape("query")) - 2
        start, length = bounds(global_shape("query")[d], d, placement_of("query"), mesh, at)
        mask = torch.ones(length, full["key"].shape[-2], dtype=torch.bool).tril(start)
        result = call(is_causal=False, attn_mask=mask)
    elif name == "aten::mean":
        x = full["self"]
        dims = full.get("dim")
        dims = range(x.dim()) if not dims else [d % x.dim() for d in dims]
        local = math.prod(x.shape[d] for d in dims)
        whole = math.prod(global_shape("self")[d] for d in dims)
        result = call()
        if local != whole:
            where.adapted.add("mean over a split dimension: divided by the whole count")
            result = result * (local / whole)
    elif name in MEANS and full.get("reduction", 1) == 1:
        whole = math.prod(torch.broadcast_shapes(*(program.meta[name_of[raw[a]]][0] for a in ("self", "target"))))
        local = math.prod(torch.broadcast_shapes(full["self"].shape, full["target"].shape))
        result = call()
        if local != whole:
            where.adapted.add("mean of a loss over split samples: divided by the whole count")
            result = result * (local / whole)
    elif name in ("aten::cross_entropy_loss", "aten::nll_loss_nd", "aten::nll_loss") and full.get("reduction", 1) == 1 and split_axes(placement_of("target")):
        where.adapted.add("mean of a cross-entropy over split samples: divided by the whole count of labels")
        if full["target"].is_floating_point():
            count = torch.tensor(full["target"].numel() // full["target"].shape[1])
        elif full.get("weight") is not None:
            raise NotImplementedError("a cross-entropy with weights of classes over split samples")
        else:
            count = (full["target"] != full.get("ignore_index", -100)).sum()
        result = call(reduction=2) / where.total(count, name_of[raw["target"]])
    elif not any(isinstance(x, torch.Tensor) for x in torch.utils._pytree.tree_leaves((args, kwargs))):
        # made from nothing: all of it, then the part (a part of an `arange` starts at an offset)
        result = call()
        if isinstance(result, torch.Tensor):
            p = out_placements[0]
            if name.startswith("aten::arange") and split_axes(p):
                where.adapted.add("part of an arange: starts at an offset")
            result = cut(result, p, mesh, at)
            if any(x == "P" and i for x, i in zip(p, at)):
                result = torch.zeros_like(result)
    else:
        result = call()
    return list(result) if op.many else [result]


def wrong(got, expected, tolerance):
    """None, or how two tensors differ."""
    if tuple(got.shape) != tuple(expected.shape):
        return f"shape {tuple(got.shape)} instead of {tuple(expected.shape)}"
    if not expected.is_floating_point():
        if got.is_floating_point() and not torch.equal(got, got.round()):
            return "not whole numbers"
        n = int((got.to(torch.int64) != expected.to(torch.int64)).sum())
        return f"{n} of {expected.numel()} elements differ" if n else None
    if expected.numel() == 0:
        return None
    same = got == expected  # infinities too
    finite = torch.isfinite(expected)
    scale = max(expected[finite].abs().max().item() if finite.any() else 1.0, 1e-3)
    difference = torch.where(same, 0.0, (got - expected).abs())
    worst = difference.nan_to_num(nan=math.inf).max().item()
    if worst > tolerance * scale:
        return f"differs by {worst / scale:.3g} of the greatest element"
    return None
