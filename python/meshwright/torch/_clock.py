"""What the processes of a step wait for, and how much they hold."""

from __future__ import annotations

import contextlib
import statistics
import time
import weakref
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Work
from torch.distributed._tools.common_utils import get_untyped_storages
from torch.distributed.pipelining import schedules
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

Key = Tuple[Any, ...]
#: What was waited for, from when to when, in seconds of the host's clock.
Span = Tuple[List[Key], float, float]


class Clock:
    """Times of one process: when it asked for each exchange, and when it waited for one.

    Processes of one host share a clock, so that a wait can be split: until the last of the others
    came it is waiting, from then on transfer. Exchanges have the same keys on all who take part.
    """

    def __init__(self, pipeline_rank: int, device: torch.device) -> None:
        self.pipeline_rank, self.device = pipeline_rank, device
        self.posts: Dict[Key, float] = {}
        self.spans: List[Span] = []
        self.counts: Dict[Key, int] = {}
        self.is_on = False
        self._is_inside = False

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic()

    def next(self, *key: Any) -> Key:
        """The key of the next exchange of a kind."""
        self.counts[key] = self.counts.get(key, -1) + 1
        return (*key, self.counts[key])

    def waited(self, keys: List[Key], start: float, end: float) -> None:
        if self.is_on:
            self.spans.append((keys, start, end))

    def collective(self, start: float, end: float) -> None:
        """All replicas of a pipeline rank wait for each other, in the same order."""
        key = self.next("all", self.pipeline_rank)
        if self.is_on:
            self.posts[key] = start
        self.waited([key], start, end)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Hears of every exchange that Python starts or waits for."""
        batch, wait = schedules._batch_p2p, Work.wait

        def timed_batch(ops: Any, desc: Optional[str] = None) -> List[Any]:
            keys = [self._post(op) for op in ops]
            works = batch(ops, desc=desc)
            each = [[key] for key in keys] if len(works) == len(keys) else [keys] * len(works)
            return [_Timed(self, work, own) for work, own in zip(works, each)]

        def timed_wait(work: Any, *words: Any) -> Any:
            if self._is_inside:
                return wait(work, *words)
            start = self.now()
            done = wait(work, *words)
            self.collective(start, self.now())
            return done

        schedules._batch_p2p, Work.wait = timed_batch, timed_wait
        try:
            yield
        finally:
            schedules._batch_p2p, Work.wait = batch, wait

    def _post(self, op: Any) -> Key:
        own, other = dist.get_rank(), op.peer
        key = self.next("send", own, other) if op.op is dist.isend else self.next("receive", other, own)
        if self.is_on:
            self.posts[key] = self.now()
        return key

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Waits in here are told by somebody else."""
        self._is_inside = True
        try:
            yield
        finally:
            self._is_inside = False


class _Timed:
    """Work of torch whose wait is heard of."""

    def __init__(self, clock: Clock, work: Any, keys: List[Key]) -> None:
        self.clock, self.work, self.keys = clock, work, keys

    def wait(self, *words: Any) -> Any:
        start = self.clock.now()
        with self.clock.inside():
            done = self.work.wait(*words)
        self.clock.waited(self.keys, start, self.clock.now())
        return done


def split(spans: Sequence[Span], posts: Dict[Key, float]) -> Tuple[float, float]:
    """Seconds of waiting and of transfer; `posts` holds by exchange when the last of the others came."""
    waiting = transfer = 0.0
    for keys, start, end in spans:
        ready = max((posts.get(_other(key), start) for key in keys), default=start)
        ready = min(max(ready, start), end)
        waiting += ready - start
        transfer += end - ready
    return waiting, transfer


def _other(key: Key) -> Key:
    """What has to happen at the other end: a send for a receive, a receive for a send."""
    ends = {"send": "receive", "receive": "send"}
    return (ends.get(key[0], key[0]), *key[1:])


def latest(all_posts: Sequence[Dict[Key, float]]) -> Dict[Key, float]:
    """By exchange, when the last one came."""
    found: Dict[Key, float] = {}
    for posts in all_posts:
        for key, at in posts.items():
            found[key] = max(at, found.get(key, at))
    return found


def medians(rows: Sequence[Dict[str, float]]) -> Dict[str, float]:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]} if rows else {}


class Held(TorchDispatchMode):
    """Counts the bytes of all tensors that live, and the most there ever were."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._sizes: Dict[int, int] = {}

    def see(self, tensor: torch.Tensor) -> torch.Tensor:
        for storage in get_untyped_storages(tensor):
            at = storage._cdata
            if at not in self._sizes:
                weakref.finalize(storage, self._resized, at, None)
            self._resized(at, storage.size())
        return tensor

    def _resized(self, at: int, size: Optional[int]) -> None:
        self.bytes += (size or 0) - self._sizes.get(at, 0)
        self.peak = max(self.peak, self.bytes)
        if size is None:
            self._sizes.pop(at, None)
        else:
            self._sizes[at] = size

    def __enter__(self) -> "Held":
        # Sharded parameters are gathered into storages that grow and shrink.
        self._resize = resize = torch.UntypedStorage.resize_

        def resize_(storage: Any, size: int) -> Any:
            done = resize(storage, size)
            if storage._cdata in self._sizes:
                self._resized(storage._cdata, size)
            return done

        torch.UntypedStorage.resize_ = resize_
        return super().__enter__()

    def __exit__(self, *words: Any) -> None:
        torch.UntypedStorage.resize_ = self._resize
        super().__exit__(*words)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return tree_map_only(torch.Tensor, self.see, function(*args, **(kwargs or {})))
