"""A training plan on the processes of torchrun."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

from .. import _native
from .._ask import path_of
from .._errors import error, refused
from .._plan import MEASURED, Plan, load, of_path
from . import _schedule, _stage
from ._clock import Clock, Held, latest, medians, split
from ._setting import Setting, read

#: What plans call the optimizers, each of parameters.
OPTIMIZERS = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD, "adafactor": torch.optim.Adafactor}
#: Steps before the first one that counts.
WARM_UP = 2

LossFn = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def run(
    plan: Any,
    model: nn.Module,
    loss_fn: LossFn,
    *,
    chain: Optional[Sequence[nn.Module]] = None,
    optimizer: Optional[Callable[..., torch.optim.Optimizer]] = None,
) -> "Run":
    """Sets up this process's part of a training plan: every process of torchrun calls it.

    `model` is a `nn.Sequential`, or names its parts in the order in which they run as `chain`; the
    plan's blocks are the run of so many equal parts. All processes build it with the same seed.
    `loss_fn(output, targets)` is a mean over samples. `optimizer` makes one of parameters; the
    plan's with torch's defaults unless stated. Refuses by name what it does not run (`cannot-run`).
    """
    return Run(plan, model, loss_fn, chain, optimizer)


class Run:
    """A plan that runs: `step` by step, or `measure`d."""

    def __init__(
        self,
        plan: Any,
        model: nn.Module,
        loss_fn: LossFn,
        chain: Optional[Sequence[nn.Module]] = None,
        optimizer: Optional[Callable[..., torch.optim.Optimizer]] = None,
        is_csv: bool = False,
    ) -> None:
        at_hand = of_path(plan)
        self.plan = at_hand if isinstance(at_hand, Plan) else load(at_hand)
        if not callable(loss_fn):
            raise refused("bad-field", "loss_fn needs a function of output and targets")
        self.setting = setting = read(self.plan.document)
        self.device = _device()
        rank = _joined(setting, self.device)
        self.replica, self.pipeline_rank = setting.place(rank)
        self.loss_fn = loss_fn
        self.clock = Clock(self.pipeline_rank, self.device)
        self._replicas = _group(self.pipeline_rank, _columns(setting, setting.pipeline, setting.data, False))
        self._pipeline = _group(self.replica, _columns(setting, setting.data, setting.pipeline, True))
        parts = _stage.chain_of(model, chain)
        names = _stage.names_of(model, parts)
        stages = _stage.stages_of(parts, setting)
        self._schedule: Any = None
        if setting.pipeline > 1:
            own = {int(cell.split(letter)[0]) for cell in setting.grid[self.pipeline_rank] for letter in "FBIW" if letter in cell}
            stages = [stage if at in own else None for at, stage in enumerate(stages)]  # type: ignore[misc]
        self.stages = [stage.to(self.device) for stage in stages if stage is not None]
        if setting.pipeline > 1:
            self._schedule = _schedule.build(setting, stages, self._pipeline, self.device, loss_fn, is_csv)
        self._module = self._wrapped()
        #: By its name in the model, each parameter (or shard) that this process holds.
        self.parameters: Dict[str, nn.Parameter] = {
            names[id(part), name]: parameter
            for stage in self.stages
            for part in stage.parts
            for name, parameter in part.named_parameters()
        }
        self.optimizer = self._made(optimizer or OPTIMIZERS[setting.optimizer])

    @property
    def schedule_class(self) -> Optional[str]:
        """How torch calls the schedule; None without a pipeline."""
        return None if self._schedule is None else type(self._schedule).__name__

    def _wrapped(self) -> Any:
        setting = self.setting
        if self._schedule is not None:
            return None
        (stage,) = self.stages
        if setting.data == 1:
            return stage
        if setting.zero < 2:
            module = DistributedDataParallel(stage, process_group=self._replicas, gradient_as_bucket_view=True)
            module.register_comm_hook(self, _summed)
            return module
        mesh = init_device_mesh(self.device.type, (setting.data,))
        for module in [*(part for part in stage.parts if any(True for _ in part.parameters())), stage]:
            fully_shard(module, mesh=mesh, reshard_after_forward=setting.zero == 3)
            if self.device.type == "cpu":
                # Gloo knows no averages.
                module.set_force_sum_reduction_for_comms(True)
        return stage

    def _made(self, make: Callable[..., torch.optim.Optimizer]) -> torch.optim.Optimizer:
        parameters = list(self.parameters.values())
        if self.setting.zero == 1 and self.setting.data > 1:
            return ZeroRedundancyOptimizer(parameters, optimizer_class=make, process_group=self._replicas)
        return make(parameters)

    def step(self, inputs: torch.Tensor, targets: torch.Tensor, *, update: bool = True) -> float:
        """One step on the samples of all replicas, the same on every process; its mean loss.

        Without `update` the gradients are left in `parameters` and nothing else changes.
        """
        losses = self._step(*self._own(inputs, targets), update)
        loss = torch.stack(losses).mean().double() if losses else torch.zeros((), dtype=torch.float64)
        loss = loss.to(self.device) / self.setting.data
        if dist.is_initialized():
            dist.all_reduce(loss)
        return float(loss)

    def _own(self, inputs: torch.Tensor, targets: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        expected = self.setting.global_batch
        for name, tensor in (("inputs", inputs), ("targets", targets)):
            n = len(tensor) if isinstance(tensor, torch.Tensor) and tensor.dim() else None
            if n != expected:
                message = f"a step of the plan takes {expected} samples, {name} has {n}"
                raise refused("other-batch", message, "give the samples of all replicas")
        share = expected // self.setting.data
        own = slice(self.replica * share, (self.replica + 1) * share)
        return inputs[own].to(self.device), targets[own].to(self.device)

    def _step(self, inputs: torch.Tensor, targets: torch.Tensor, update: bool) -> List[torch.Tensor]:
        # Plans count gradients for the whole step.
        self.optimizer.zero_grad(set_to_none=False)
        losses = self._accumulated(inputs, targets) if self._schedule is None else self._piped(inputs, targets)
        if update:
            self.optimizer.step()
        return losses

    def _accumulated(self, inputs: torch.Tensor, targets: torch.Tensor) -> List[torch.Tensor]:
        n, losses = self.setting.n_micro_batches, []
        for at, (x, y) in enumerate(zip(inputs.chunk(n), targets.chunk(n))):
            is_last = at + 1 == n
            alone = isinstance(self._module, DistributedDataParallel) and not is_last
            if self.setting.zero == 2 and self.setting.data > 1:
                # Weights stay gathered until they change.
                self._module.set_reshard_after_backward(is_last)
            with self._module.no_sync() if alone else contextlib.nullcontext():
                loss = self.loss_fn(self._module(x), y)
                self._asked = None
                (loss / n).backward()
                if self._asked is not None:
                    self.clock.collective(self._asked, self.clock.now())
            losses.append(loss.detach())
        return losses

    #: When this process asked for the last sum of gradients, of one backward pass.
    _asked: Optional[float] = None

    def _piped(self, inputs: torch.Tensor, targets: torch.Tensor) -> List[torch.Tensor]:
        losses: List[torch.Tensor] = []
        n_stages = len(self.setting.stages)
        own = {stage.stage_index for stage in getattr(self._schedule, "_stages", None) or [self._schedule._stage]}
        words = (inputs,) if 0 in own else ()
        more = {"target": targets, "losses": losses} if n_stages - 1 in own else {}
        self._schedule.step(*words, return_outputs=False, **more)
        if self.setting.data > 1:
            self._sum()
        return [loss.detach() for loss in losses]

    def _sum(self) -> None:
        """Gradients of all replicas, averaged."""
        grads = [own.grad for own in self.parameters.values() if own.grad is not None]
        flat = torch.cat([grad.reshape(-1) for grad in grads]).div_(self.setting.data)
        dist.all_reduce(flat, group=self._replicas)
        for grad, summed in zip(grads, flat.split([grad.numel() for grad in grads])):
            grad.copy_(summed.view_as(grad))

    def measure(
        self, n: int, inputs: torch.Tensor, targets: torch.Tensor, *, path: Any = None, force: bool = False
    ) -> Dict[str, Any]:
        """Runs `n` steps that change the parameters: by process, seconds of computing, of waiting for
        others, of transfer, which add up to the step in each step, and their medians; the peak of all tensors
        (one step more, counted). `path` is written by the first process, and refused before the first step
        where it can't be; the processes have to share a host's clock.
        """
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise refused("bad-field", f"{n!r} steps can't be measured", "measure at least one")
        own = self._own(inputs, targets)
        _check_file(path, force)
        rows: List[Dict[str, float]] = []
        steps: List[float] = []
        with self.clock.watching():
            for at in range(WARM_UP + n):
                step, row = self._timed(own)
                if at >= WARM_UP:
                    steps.append(step)
                    rows.append(row)
        told = {**medians(rows), "peak_bytes": self._peak(own), "replica": self.replica, "pipeline_rank": self.pipeline_rank}
        document = {
            "format": MEASURED,
            "plan": {"sha256": self.plan.sha256, "step_time_s": self.plan.step_time_s, "peak_bytes": self.plan.peak_bytes},
            "torch": torch.__version__,
            "device": self.device.type,
            "schedule": self.schedule_class,
            "n_steps": n,
            "step_time_s": medians([{"s": step} for step in steps])["s"],
            "steps_s": steps,
            "ranks": _gathered(told),
        }
        if path is not None and (not dist.is_initialized() or dist.get_rank() == 0):
            refusal = _native.write_file(path_of(path), json.dumps(document, indent=2) + "\n", bool(force))
            if refusal is not None:
                raise error(json.loads(refusal))
        return document

    def _timed(self, own: Tuple[torch.Tensor, torch.Tensor]) -> Tuple[float, Dict[str, float]]:
        """Seconds of a step, and where those of this process went."""
        clock = self.clock
        clock.posts, clock.spans = {}, []
        if dist.is_initialized():
            dist.barrier()
        clock.is_on, start = True, clock.now()
        self._step(*own, True)
        end, clock.is_on = clock.now(), False
        told = _gathered((start, end, clock.posts))
        step = max(end for _, end, _ in told) - min(start for start, _, _ in told)
        waiting, transfer = split(clock.spans, latest([posts for _, _, posts in told]))
        idle = step - (end - start)
        busy = end - start - waiting - transfer
        return step, {"compute_s": busy, "waiting_s": waiting + idle, "transfer_s": transfer}

    def _peak(self, own: Tuple[torch.Tensor, torch.Tensor]) -> int:
        with Held() as held:
            for tensor in self._held(own):
                held.see(tensor)
            self._step(*own, True)
        return held.peak

    def _held(self, own: Tuple[torch.Tensor, torch.Tensor]) -> Iterator[torch.Tensor]:
        yield from own
        for stage in self.stages:
            yield from stage.parameters()
            yield from stage.buffers()
            yield from (own.grad for own in stage.parameters() if own.grad is not None)
        inner = getattr(self.optimizer, "optim", self.optimizer)
        for state in inner.state.values():
            yield from (value for value in state.values() if isinstance(value, torch.Tensor))


def _summed(run, bucket):  # type: ignore[no-untyped-def]
    """Sums a bucket of gradients over replicas, as DDP does without a hook, and notes when. DDP reads the
    annotations of a hook itself, and knows none that are text.
    """
    run._asked = run.clock.now()
    buffer = bucket.buffer().div_(run.setting.data)
    future = dist.all_reduce(buffer, group=run._replicas, async_op=True).get_future()
    return future.then(lambda done: done.value()[0])


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def _joined(setting: Setting, device: torch.device) -> int:
    """This process's rank among those of the plan."""
    if not dist.is_initialized() and "RANK" in os.environ:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    n = dist.get_world_size() if dist.is_initialized() else 1
    if n != setting.world:
        message = f"the plan runs on {setting.world} processes, and there are {n}"
        raise refused("other-world", message, f"start it with torchrun --nproc-per-node {setting.world}")
    if not dist.is_initialized():
        return 0
    # Once, however many plans run.
    atexit.unregister(_drain)
    atexit.register(_drain)
    return dist.get_rank()


def _drain() -> None:
    """Gloo's threads let go of the tensors of their last works, for which they need the interpreter: torch
    aborts where that ends before them.
    """
    time.sleep(0.1)


def _columns(setting: Setting, n: int, length: int, is_pipeline: bool) -> List[List[int]]:
    """Processes that belong together: pipelines by replica, or replicas by pipeline rank."""
    rank = setting.rank
    return [[rank(at, other) if is_pipeline else rank(other, at) for other in range(length)] for at in range(n)]


def _group(own: int, columns: List[List[int]]) -> Any:
    """The group of this process; all processes make all groups."""
    if not dist.is_initialized():
        return None
    return [dist.new_group(column) for column in columns][own]


def _check_file(path: Any, force: bool) -> None:
    """Refuses on every process, before anything runs, what the first one could not write."""
    is_written = path is not None and (not dist.is_initialized() or dist.get_rank() == 0)
    refusal = _gathered(_native.check_file(path_of(path), bool(force)) if is_written else None)[0]
    if refusal is not None:
        raise error(json.loads(refusal))


def _gathered(own: Any) -> List[Any]:
    if not dist.is_initialized():
        return [own]
    told: List[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(told, own)
    return told

