"""Gradients of data-parallel replicas, exchanged as a table of buckets says: DDP with a hook."""

from __future__ import annotations

import atexit
import time
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .._errors import MeshwrightError, refused
from ._table import Bucket, checked, same

# Gloo's threads let go of the tensors of their last works, for which they need the interpreter.
atexit.register(time.sleep, 0.1)


def exchange(model: nn.Module, table: Any, process_group: Any = None, **ddp_arguments: Any) -> "Exchanged":
    """Wraps a model in DDP, whose gradients are exchanged as the table says (`export --target torch-hook`).

    Every process of the group calls it. What is refused on one of them is refused on all: a table that is
    none or another one than elsewhere, parameters that are not those of the table or not fp32, another
    number of processes, `find_unused_parameters` and other arguments of DDP that change what a hook sees.

    The backward pass goes on while `as-is`, `top-k` and `layer-wise` buckets are under way. It waits in each
    `global-top-k` bucket for all messages of the tree (on CUDA its stream does). Choosing elements is part
    of the backward pass. Not run with nccl so far.
    """
    world = dist.get_world_size(process_group) if dist.is_initialized() else 1
    buckets: List[Bucket] = []
    told: Any = None
    try:
        buckets, told = checked(model, table, world, ddp_arguments)
    except MeshwrightError as wrong:
        told = wrong
    if world < 2 and isinstance(told, MeshwrightError):
        raise told
    everywhere: List[Any] = [None] * world
    dist.all_gather_object(everywhere, told, group=process_group)
    for own in [told, *everywhere]:
        if isinstance(own, MeshwrightError):
            raise own
    if len(set(everywhere)) > 1:
        raise refused("other-table", "processes have different tables", "give all of them the same file")
    return Exchanged(model, buckets, process_group, ddp_arguments)


class Exchanged(DistributedDataParallel):
    """DDP with what a process has not sent yet: each has residuals of its own, which a checkpoint needs by
    process beside `state_dict`.
    """

    def __init__(self, model: nn.Module, buckets: Sequence[Bucket], group: Any, arguments: Mapping[str, Any]) -> None:
        # Of a byte: each parameter goes to the hook once it is there, from the second step on.
        super().__init__(model, process_group=group, bucket_cap_mb=1 / 2**20, **arguments)
        self._exchange = _Exchange(model, buckets, self.process_group)
        # Not `self`, which would keep itself alive through DDP's reducer.
        self.register_comm_hook(self._exchange, _hook)

    def residuals(self) -> Dict[str, torch.Tensor]:
        """Copies by parameter, between two steps; those of `as-is` buckets have none."""
        return {name: own.clone() for name, own in self._exchange.residuals().items()}

    def load_residuals(self, saved: Mapping[str, torch.Tensor]) -> None:
        """Sets what `residuals` returned on this process."""
        own = self._exchange.residuals()
        same("what was saved", {name: part.numel() for name, part in saved.items()}, {name: part.numel() for name, part in own.items()})
        for name, part in own.items():
            part.copy_(saved[name].view_as(part))


class _Exchange:
    """Starts the exchange of a bucket when the last of its gradients is there.

    DDP hands gradients to the hook in one order on all processes, so buckets start in one order too.
    """

    def __init__(self, model: nn.Module, buckets: Sequence[Bucket], group: Any) -> None:
        self.buckets, self.group = buckets, group
        self.rank, self.world = dist.get_rank(group), dist.get_world_size(group)
        self.parameters = dict(model.named_parameters())
        self.device = self.parameters[buckets[0].tensors[0][0]].device
        self.places: Dict[int, Tuple[Bucket, int]] = {}
        for bucket in buckets:
            for at, (name, _, _) in enumerate(bucket.tensors):
                self.places[id(self.parameters[name])] = bucket, at
            if bucket.method != "as-is":
                bucket.residual = torch.zeros(sum(bucket.sizes), device=self.device)

    def residuals(self) -> Dict[str, torch.Tensor]:
        return {
            name: part.view(self.parameters[name].shape)
            for bucket in self.buckets
            if bucket.method != "as-is"
            for (name, _, _), part in zip(bucket.tensors, bucket.residual.split(bucket.sizes))
        }

    def take(self, of_ddp: Any) -> Any:
        """The future of a bucket of DDP: in the first step all parameters are in one."""
        if of_ddp.index() == 0:
            for bucket in self.buckets:
                # Of a step that did not come to its end.
                bucket.gradients = {}
        futures: List[Any] = []
        for parameter, gradient in zip(of_ddp.parameters(), of_ddp.gradients()):
            bucket, at = self.places[id(parameter)]
            if not bucket.gradients:
                bucket.future = torch.futures.Future(devices=[self.device] if self.device.type == "cuda" else None)
            futures.append(bucket.future)
            bucket.gradients[at] = gradient
            if len(bucket.gradients) == len(bucket.tensors):
                self._start(bucket)
        buffer = of_ddp.buffer()

        def whole(done: Any) -> torch.Tensor:
            for future in done.value():
                if future.value() is not None:
                    raise RuntimeError(future.value())
            return buffer

        return torch.futures.collect_all(futures).then(whole)

    def _start(self, bucket: Bucket) -> None:
        gradients = [bucket.gradients[at] for at in range(len(bucket.tensors))]
        bucket.gradients, future = {}, bucket.future
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        if bucket.method == "as-is":
            flat.div_(self.world)
            work = dist.all_reduce(flat, group=self.group, async_op=True)
            _then(work, future, lambda: _write(flat, gradients))
            return
        flat.add_(bucket.residual)
        index = _largest(bucket, flat)
        packed = torch.cat([flat[index].view(torch.int32), index.int()])
        flat.index_fill_(0, index, 0)
        if bucket.method == "global-top-k":
            packed = self._tree(packed, flat)
        # What is not finite would stay for good; as the largest it is in what is sent.
        bucket.residual = flat.nan_to_num_(0, 0, 0)
        if bucket.method == "global-top-k":
            _write(self._mean(packed, flat.numel()), gradients)
            future.set_result(None)
            return
        gathered = packed.new_empty(self.world * packed.numel())
        work = dist.all_gather_into_tensor(gathered, packed, group=self.group, async_op=True)
        n = flat.numel()
        _then(work, future, lambda: _write(self._mean(gathered, n, self.world), gradients))

    def _mean(self, packed: torch.Tensor, n: int, n_rows: int = 1) -> torch.Tensor:
        """The dense mean of elements, one process after the other: so the same on all of them to the bit."""
        mean = torch.zeros(n, device=packed.device)
        for row in packed.chunk(n_rows):
            values, index = _unpacked(row)
            mean.index_add_(0, index, values)
        return mean.div_(self.world)

    def _tree(self, packed: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The largest of the sum, pair by pair up a binary tree and down again. Who drops a sum keeps it."""
        steps = [1 << level for level in range((self.world - 1).bit_length())]
        for step in steps:
            if self.rank % (2 * step) == step:
                dist.send(packed, group=self.group, group_dst=self.rank - step)
                break
            if self.rank + step < self.world:
                other = torch.empty_like(packed)
                dist.recv(other, group=self.group, group_src=self.rank + step)
                packed = _merged(packed, other, residual)
        for step in reversed(steps):
            if self.rank % (2 * step) == step:
                dist.recv(packed, group=self.group, group_src=self.rank - step)
            elif self.rank % (2 * step) == 0 and self.rank + step < self.world:
                dist.send(packed, group=self.group, group_dst=self.rank + step)
        return packed


def _hook(exchange, bucket):  # type: ignore[no-untyped-def]
    """DDP reads the annotations of a hook itself, and knows none that are text."""
    return exchange.take(bucket)


def _then(work: Any, future: Any, write: Any) -> None:
    """Settles a future after a work, whatever came of it: DDP waits for it."""

    def settle(done: Any) -> None:
        try:
            done.value()
            write()
        except Exception as wrong:  # noqa: BLE001  (told by the future)
            future.set_result(f"{type(wrong).__name__}: {wrong}")
        else:
            future.set_result(None)

    work.get_future().then(settle)


def _write(flat: torch.Tensor, gradients: Sequence[torch.Tensor]) -> None:
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
        gradient.copy_(part.view(gradient.shape))


def _largest(bucket: Bucket, flat: torch.Tensor) -> torch.Tensor:
    size = flat.abs()
    if bucket.method != "layer-wise":
        return size.topk(bucket.kept, sorted=False).indices
    parts, start = [], 0
    for _, elements, kept in bucket.tensors:
        parts.append(size[start : start + elements].topk(kept, sorted=False).indices + start)
        start += elements
    return torch.cat(parts)


def _unpacked(row: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    values, index = row.chunk(2)
    return values.view(torch.float32), index.long()


def _merged(own: torch.Tensor, other: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    """The largest of the sum of two, as many as each has; the rest goes to the residual. No size depends on
    what is in them, so CUDA need not wait for it.
    """
    (values, index), (other_values, other_index) = _unpacked(own), _unpacked(other)
    index, order = torch.cat([index, other_index]).sort()
    values = torch.cat([values, other_values])[order]
    # An index is in each at most once: the second of a pair is added to the first.
    again = nn.functional.pad(index[1:] == index[:-1], (1, 0))
    values[:-1] += torch.where(again[1:], values[1:], 0.0)
    values.masked_fill_(again, 0.0)
    order = values.abs().masked_fill_(again, -1.0).argsort(descending=True)
    kept, dropped = order.chunk(2)
    residual.index_add_(0, index[dropped], values[dropped])
    return torch.cat([values[kept].view(torch.int32), index[kept].int()])
