"""Calls of an exported program on the parts of tensors that a device has, and their gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
import torch.distributed as dist
from torch.distributed.tensor import Replicate
from torch.utils import _pytree as pytree

from .._errors import refused
from ._graph import RESHAPES, Back, Call, Placements, Shape, dim_of, shard, splits

if TYPE_CHECKING:
    from ._matched import Matched

aten = torch.ops.aten
#: Backward passes by formula, which read less than a repeated forward pass would.
PRODUCTS = ("linear", "addmm", "mm", "bmm", "matmul", "einsum", "conv1d", "conv2d", "conv3d", "convolution")
#: What adds a bias once per output, and under which argument.
BIASES = {"linear": "bias", "addmm": "self", "baddbmm": "self", "conv1d": "bias", "conv2d": "bias", "conv3d": "bias"}
BIASES["convolution"] = "bias"
#: The second tensor gives a shape or a type alone.
BY_FORM = ("expand_as", "view_as", "reshape_as", "type_as", "to")
LOSSES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits")
CLASS_LOSSES = ("cross_entropy_loss", "nll_loss", "nll_loss_nd", "nll_loss_forward")
#: Linear in floats that their backward ops do not read: these values do not matter there. Indices and masks do.
BY_INDEX = frozenset(
    "where masked_fill masked_scatter gather index_select index index_put index_add index_copy scatter scatter_add "
    "embedding".split()
)
LINEAR = frozenset(
    "add sub rsub neg mul div outer sum mean cumsum diff select_scatter slice_scatter cat stack split chunk "
    "split_with_sizes unsafe_split unsafe_chunk tensor_split unbind select slice narrow flip roll diagonal unfold pad "
    "constant_pad_nd tril triu transpose t permute movedim swapaxes expand expand_as broadcast_to "
    "repeat tile repeat_interleave unsqueeze contiguous clone alias to _to_copy type_as copy lift_fresh_copy detach "
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d upsample_nearest1d "
    "upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d dropout".split()
) | {*RESHAPES}
#: They give elements and where these were along a dimension, and save the latter.
INDEXED = ("topk", "sort")
#: Gradients of the input by the output: what softmax and its like save.
BY_OUTPUT: Mapping[str, Any] = {
    "relu": lambda g, y, dim: aten.threshold_backward(g, y, 0),
    "sigmoid": lambda g, y, dim: aten.sigmoid_backward(g, y),
    "tanh": lambda g, y, dim: aten.tanh_backward(g, y),
    "exp": lambda g, y, dim: g * y,
    "sqrt": lambda g, y, dim: g / (2 * y),
    "rsqrt": lambda g, y, dim: g * y.pow(3) * -0.5,
    "reciprocal": lambda g, y, dim: -g * y * y,
    "softmax": lambda g, y, dim: aten._softmax_backward_data(g, y, dim, g.dtype),
    "_softmax": lambda g, y, dim: aten._softmax_backward_data(g, y, dim, g.dtype),
    "log_softmax": lambda g, y, dim: aten._log_softmax_backward_data(g, y, dim, g.dtype),
    "_log_softmax": lambda g, y, dim: aten._log_softmax_backward_data(g, y, dim, g.dtype),
}


def lacks(call: Call, back: Back, metas: Mapping[str, Any]) -> List[str]:
    """What the local gradient depends on and the backward op does not read."""
    if call.op in PRODUCTS:
        return []
    if call.op in BY_OUTPUT and call.outputs[0] in back.stored or call.op in INDEXED and call.outputs[1] in back.stored:
        return []
    left = [name for name in call.reads if name in call.ins and name not in back.stored]
    if call.op == "div":
        # Linear in the dividend alone.
        return [name for name in left if call.names.get(call.node.args[0]) != name]
    if call.op in BY_INDEX:
        return [name for name in left if not metas[name].dtype.is_floating_point]
    return [] if call.op in LINEAR else left


class Local:
    """One call on local tensors: arguments by name, and the placements of what they are parts of."""

    def __init__(self, run: "Matched", call: Call, values: Mapping[str, Any], ins: Mapping[str, Placements],
                 outs: Sequence[Placements]) -> None:  # fmt: skip
        self.run, self.call, self.ins, self.outs = run, call, ins, outs
        self.names = call.names
        schema, node = call.node.target._schema, call.node
        given = dict(zip((own.name for own in schema.arguments), node.args))
        given.update(node.kwargs)
        self.given = given
        self.full = {name: self._value(own, values) for name, own in given.items()}
        shape = run.shapes.get(call.outputs[0])
        self.target = None if shape is None else list(run.local_shape(shape, outs[0], call.outputs[0]))

    def _value(self, own: Any, values: Mapping[str, Any]) -> Any:
        def of(item: Any) -> Any:
            if isinstance(item, torch.device):
                return self.run.device
            return values[self.names[item]] if isinstance(item, torch.fx.Node) else item

        return pytree.tree_map(of, own, is_leaf=lambda item: isinstance(item, (torch.fx.Node, torch.device)))

    def name(self, argument: str) -> Optional[str]:
        own = self.given.get(argument)
        return self.names[own] if isinstance(own, torch.fx.Node) else None

    def shape(self, argument: str) -> Shape:
        return self.run.shapes[self.name(argument)]  # type: ignore[index]

    def bounds(self, argument: str, dim: int) -> Tuple[int, int]:
        """Where the local part of a dimension begins, and its size."""
        name = self.name(argument)
        return self.run.bounds(self.shape(argument)[dim], dim, self.ins[name])  # type: ignore[index]

    def invoke(self) -> Any:
        words, more = [], {}
        for own in self.call.node.target._schema.arguments:
            if not own.kwarg_only:
                words.append(self.full[own.name] if own.name in self.full else own.default_value)
            elif own.name in self.full:
                more[own.name] = self.full[own.name]
        if self.call.node.target._schema.is_mutable:
            words[0] = words[0].clone()
        return self.call.node.target(*words, **more)

    def results(self) -> List[Any]:
        op, full = self.call.op, self.full
        bias = BIASES.get(op)
        if bias and full.get(bias) is not None:
            own = self.ins.get(self.name(bias))  # type: ignore[arg-type]
            # Added once, on the first rank of each axis along which the product is a partial sum.
            axes = [at for at, of in enumerate(self.outs[0]) if of.is_partial() and not (own and own[at].is_partial())]
            if any(self.run.at[axis] for axis in axes):
                full[bias] = torch.zeros_like(full[bias])
        if not any(isinstance(own, torch.Tensor) for own in pytree.tree_leaves(list(full.values()))):
            found = self._created()
        elif op in ("new_ones", "new_zeros", "new_full", "new_empty"):
            full["size"] = self.target
            found = self.invoke()
        elif op in RESHAPES and "dtype" not in full:
            found = full["self"].reshape(self.target)
        elif op in ("expand", "expand_as", "broadcast_to"):
            found = full["self"].expand(self.target)
        else:
            with self.run.random(self.call, self.outs):
                adapted = getattr(self, f"_{op}", None) or (self._loss if op in LOSSES else None)
                found = (adapted or (self._class_loss if op in CLASS_LOSSES else self.invoke))()
        found = list(found) if self.call.is_many else [found]
        for name, own, placements in zip(self.call.outputs, found, self.outs):
            if isinstance(own, torch.Tensor) and name in self.run.shapes:
                expected = self.run.local_shape(self.run.shapes[name], placements, name)
                if tuple(own.shape) != expected:
                    message = f"`{self.call.node.name}` ({self.call.node.target}) gives {tuple(own.shape)} on a device"
                    raise refused("cannot-run", f"{message}, and {expected} by the plan")
        return found

    def _created(self) -> Any:
        """A tensor of nothing: a part of it, or all where its elements differ by place."""
        call, full = self.call, self.full
        if self.target is None:
            return self.invoke()
        with self.run.random(call, self.outs):
            if "size" in full and call.op != "eye":
                full["size"] = self.target
                found = self.invoke()
            else:
                found = self.run.cut(self.invoke(), self.outs[0])
        is_rest = any(of.is_partial() and at for of, at in zip(self.outs[0], self.run.at))
        return torch.zeros_like(found) if is_rest else found

    def _repeat(self) -> Any:
        x, target = self.full["self"], self.target or []
        skip = len(target) - x.dim()
        self.full["repeats"] = [n if at < skip else n // x.shape[at - skip] for at, n in enumerate(target)]
        return self.invoke()

    def _repeat_interleave(self) -> Any:
        if self.full.get("output_size") is not None and self.target is not None:
            self.full["output_size"] = self.target[self.full["dim"]]
        return self.invoke()

    def _groups(self) -> Any:
        """Channels of a device are of as many groups as their weights say."""
        x, weight = self.full["input"], self.full["weight"]
        if not self.full.get("transposed"):
            self.full["groups"] = x.shape[1] // weight.shape[1]
        return self.invoke()

    _conv1d = _conv2d = _conv3d = _convolution = _groups

    def _group_norm(self) -> Any:
        n, rest = divmod(self.full["num_groups"] * self.full["input"].shape[1], self.shape("input")[1])
        if rest:
            raise refused("cannot-run", f"`{self.call.node.name}`: the plan splits a group of a group norm")
        self.full["num_groups"] = n
        return self.invoke()

    def _embedding(self) -> Any:
        """Rows of other devices are zeros."""
        start, n = self.bounds("weight", 0)
        if n == self.shape("weight")[0]:
            return self.invoke()
        indices = self.full["indices"] - start
        is_own = (indices >= 0) & (indices < n)
        padding = self.full.get("padding_idx", -1) - start
        self.full.update(indices=indices.clamp(0, n - 1), padding_idx=padding if 0 <= padding < n else -1)
        return self.invoke().masked_fill(~is_own.unsqueeze(-1), 0)

    def _scaled_dot_product_attention(self) -> Any:
        query, key = self.full["query"], self.full["key"]
        start, n = self.bounds("query", query.dim() - 2)
        if self.full.get("is_causal") and n != self.shape("query")[-2]:
            mask = torch.ones(n, key.shape[-2], dtype=torch.bool, device=query.device).tril(start)
            self.full.update(is_causal=False, attn_mask=mask)
        return self.invoke()

    def _mean(self) -> Any:
        x, whole = self.full["self"], self.shape("self")
        dims = [dim % x.dim() for dim in self.full.get("dim") or range(x.dim())]
        share = math.prod(x.shape[dim] for dim in dims) / max(math.prod(whole[dim] for dim in dims), 1)
        return self.invoke() if share == 1 else self.invoke() * share

    def _loss(self) -> Any:
        """A mean over all elements."""
        if self.full.get("reduction", 1) != 1:
            return self.invoke()
        n_own = math.prod(torch.broadcast_shapes(self.full["self"].shape, self.full["target"].shape))
        n = math.prod(torch.broadcast_shapes(self.shape("self"), self.shape("target")))
        return self.invoke() if n == n_own else self.invoke() * (n_own / n)

    def _class_loss(self) -> Any:
        """A mean over all labels that count."""
        target, weight = self.full["target"], self.full.get("weight")
        placements = self.ins[self.name("target")]  # type: ignore[index]
        axes = [at for at, of in enumerate(placements) if dim_of(of) is not None]
        if self.full.get("reduction", 1) != 1 or not axes:
            return self.invoke()
        if target.is_floating_point():
            raise refused("cannot-run", f"`{self.call.node.name}`: the plan splits targets that are probabilities")
        counts = target != self.full.get("ignore_index", -100)
        n = counts.sum() if weight is None else (weight[target.where(counts, 0)] * counts).sum()
        self.full["reduction"] = 2
        found = self.invoke()
        for axis in axes:
            dist.all_reduce(n, group=self.run.mesh.get_group(axis))
        return found / n if isinstance(found, torch.Tensor) else (found[0] / n, found[1])


class Gradients:
    """The gradients that one backward op gives, on local tensors."""

    def __init__(self, run: "Matched", call: Call, back: Back, grads: Mapping[str, torch.Tensor],
                 stored: Mapping[str, torch.Tensor], wanted: Sequence[str]) -> None:  # fmt: skip
        self.run, self.call, self.back, self.grads, self.stored, self.wanted = run, call, back, grads, stored, wanted
        local = {name: stored.get(name, name) for name in call.reads}
        self.form = Local(run, call, {**run.numbers, **local}, back.stored, call.outs)
        named = {argument: self.form.name(argument) for argument in self.form.given}
        self.roles = {name: argument for argument, name in named.items() if name in call.reads}
        self.by_role = {argument: stored[name] for name, argument in self.roles.items() if name in stored}

    def results(self) -> Dict[str, torch.Tensor]:
        op, found = self.call.op, None
        if op in PRODUCTS:
            gradient = next(iter(self.grads.values()))
            form = self._convolution if "conv" in op else getattr(self, f"_{op}", self._product)
            found = form(gradient)
        elif op in BY_OUTPUT and self.call.outputs[0] in self.stored:
            output = self.call.outputs[0]
            (name,) = self.wanted
            found = [BY_OUTPUT[op](self.grads[output], self.stored[output], self.form.full.get("dim"))]
        elif op in INDEXED and self.call.outputs[1] in self.stored:
            found = [self._scattered()]
        return self._again() if found is None else dict(zip(self.wanted, found))

    def _linear(self, gradient: torch.Tensor) -> Any:
        rows, own = gradient.reshape(-1, gradient.shape[-1]), self.by_role
        of = {
            "input": lambda: gradient @ own["weight"],
            "weight": lambda: rows.t() @ own["input"].reshape(-1, own["input"].shape[-1]),
            "bias": lambda: rows.sum(0),
        }
        return [of[self.roles[name]]() for name in self.wanted]

    def _addmm(self, gradient: torch.Tensor) -> Any:
        if any(self.form.full.get(name, 1) != 1 for name in ("alpha", "beta")):
            return None
        bias = next((name for name in self.wanted if self.roles[name] == "self"), None)
        shape = bias and self.run.local_shape(self.run.shapes[bias], self.back.gives[bias], bias)
        of = {"self": lambda: gradient.sum_to_size(shape), "mat1": lambda: gradient @ self.by_role["mat2"].t()}
        of["mat2"] = lambda: self.by_role["mat1"].t() @ gradient
        return [of[self.roles[name]]() for name in self.wanted]

    def _product(self, gradient: torch.Tensor) -> Any:
        """Of factors with two dimensions or more."""
        if len(self.roles) != 2 or any(len(self.run.shapes[name]) < 2 for name in self.call.reads):
            return None
        found = []
        for name in self.wanted:
            shape = self.run.local_shape(self.run.shapes[name], self.back.gives[name], name)
            (other,) = self.by_role.values()
            if self.roles[name] == "self":
                found.append((gradient @ other.mT).sum_to_size(shape))
            elif len(shape) == 2:
                rows = gradient.reshape(-1, gradient.shape[-1])
                found.append(other.reshape(-1, other.shape[-1]).t() @ rows)
            else:
                found.append((other.mT @ gradient).sum_to_size(shape))
        return found

    def _einsum(self, gradient: torch.Tensor) -> Any:
        names = [self.call.names[of] for of in self.call.node.args[1]]
        inputs, _, output = self.call.node.args[0].replace(" ", "").partition("->")
        words = dict(zip(names, inputs.split(",")))
        found = []
        for name in self.wanted:
            others = [other for other in names if other != name]
            known = output + "".join(words[other] for other in others)
            if len(words) != 2 or any(other not in self.stored for other in others) or set(words[name]) - set(known):
                return None
            rest = [words[other] for other in others]
            equation = ",".join([output, *rest]) + "->" + words[name]
            found.append(torch.einsum(equation, gradient, *(self.stored[other] for other in others)))
        return found

    def _convolution(self, gradient: torch.Tensor) -> Any:
        wanted, full = [self.roles[name] for name in self.wanted], self.form.full
        if wanted == ["bias"]:
            return [gradient.sum([dim for dim in range(gradient.dim()) if dim != 1])]
        if isinstance(full.get("padding"), str) or full.get("transposed") or "transpose" in self.call.op:
            return None
        own = {self.roles[name]: self._local(name, gradient) for name in self.call.reads}
        n = gradient.dim() - 2
        stride, padding, dilation = (
            list(pair) * (n if len(pair) == 1 else 1)
            for pair in (full.get("stride", [1]), full.get("padding", [0]), full.get("dilation", [1]))
        )
        groups = own["input"].shape[1] // own["weight"].shape[1]
        form = [[own["weight"].shape[0]], stride, padding, dilation, False, [0] * n, groups]
        roles = ("input", "weight", "bias")
        mask = [of in wanted for of in roles]
        grads = dict(zip(roles, aten.convolution_backward(gradient, own["input"], own["weight"], *form, mask)))
        return [grads[of] for of in wanted]

    def _scattered(self) -> torch.Tensor:
        (name,), output = self.wanted, self.call.outputs[0]
        shape = self.run.local_shape(self.run.shapes[name], self.back.gives[name], name)
        grad = self.grads[output]
        return grad.new_zeros(shape).scatter(self.form.full.get("dim", -1), self.stored[self.call.outputs[1]], grad)

    def _placements(self, name: str) -> Placements:
        """Of an input: as it is read, or else as its gradient or that of the output has it."""
        if name in self.back.stored or name in self.back.gives:
            return self.back.stored.get(name) or splits(self.back.gives[name])
        shapes, output = self.run.shapes, next(iter(self.back.grads))
        like = next((own for of, own in self.back.gives.items() if shapes[of] == shapes[name]), None)
        if like is not None:
            return splits(like)
        skip = len(shapes[output]) - len(shapes[name])

        def of(split: Any) -> Any:
            dim = (dim_of(split) or 0) - skip
            is_in = dim_of(split) is not None and dim >= 0 and shapes[name][dim] > 1
            return shard(dim, getattr(split, "split_factor", 1)) if is_in else Replicate()

        return tuple(of(split) for split in self.back.grads[output])

    def _local(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """A stored tensor, or zeros of one element where its values do not matter."""
        if name in self.stored:
            return self.stored[name]
        shape = self.run.local_shape(self.run.shapes[name], self._placements(name), name)
        return like.new_zeros((), dtype=self.run.program.metas[name].dtype).expand(shape)

    def _again(self) -> Dict[str, torch.Tensor]:
        """The call once more, on what the backward op reads, differentiated."""
        like = next(iter(self.grads.values()))
        with torch.enable_grad():
            local = {name: self._local(name, like).detach() for name in self.call.reads}
            for name in self.wanted:
                local[name].requires_grad_()
            ins = {name: self._placements(name) for name in self.call.reads}
            outs = [self.back.grads.get(name, own) for name, own in zip(self.call.outputs, self.call.outs)]
            found = Local(self.run, self.call, {**self.run.numbers, **local}, ins, outs).results()
            found = dict(zip(self.call.outputs, found))
        outputs = [name for name in self.grads if found[name].requires_grad]
        of = [local[name] for name in self.wanted]
        grads = [self.grads[name] for name in outputs]
        given = torch.autograd.grad([found[name] for name in outputs], of, grads, allow_unused=True)
        pairs = zip(self.wanted, of, given)
        return {name: torch.zeros_like(own) if grad is None else grad for name, own, grad in pairs}
