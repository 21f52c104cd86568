import os
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Dict, Iterator, List, Literal, Optional, Union

from . import service as service, torch as torch

__version__: str

_Path = Union[str, bytes, "os.PathLike[str]"]
_Plan = Union["Plan", Mapping[str, Any], str, bytes, "os.PathLike[str]"]

def plan(
    model: _Path,
    *,
    on_event: Optional[Callable[[Dict[str, Any]], object]] = ...,
    accelerators: Optional[int] = ...,
    adapter: Optional[str] = ...,
    algorithm: Optional[str] = ...,
    all: bool = ...,
    batch: Optional[int] = ...,
    batch_axis: Optional[Mapping[str, int]] = ...,
    cluster: Optional[_Path] = ...,
    colocate: Optional[Sequence[str]] = ...,
    constraints: Optional[_Path] = ...,
    costs: Optional[_Path] = ...,
    deterministic: bool = ...,
    devices: Union[str, int, float, None] = ...,
    dims: Optional[Mapping[str, int]] = ...,
    dtype: Optional[Literal["fp64", "fp32", "fp16", "bf16", "fp8", "fp4"]] = ...,
    executor: Optional[str] = ...,
    expert_skew: Optional[str] = ...,
    export: Optional[Sequence[str]] = ...,
    freeze: Optional[str] = ...,
    forbid: Optional[Sequence[str]] = ...,
    gap: Union[str, int, float, None] = ...,
    global_batch: Optional[int] = ...,
    lost: Optional[Sequence[str]] = ...,
    max_memory_per_device: Union[str, int, float, None] = ...,
    memory_margin: Union[str, int, float, None] = ...,
    micro_batch: Optional[int] = ...,
    no_offload: bool = ...,
    fastest: bool = ...,
    node_budget: Optional[int] = ...,
    objective: Optional[Literal["step-time", "max-load", "contiguous-max-load", "latency", "time-per-sample", "slowest-stage", "throughput", "fewest-devices", "lowest-price", "energy-per-token", "cost-per-token"]] = ...,
    optimizer: Optional[Literal["adamw", "sgd", "adafactor", "adamw-16bit", "adamw-8bit", "paged-adamw", "paged-adamw-8bit", "lion", "lion-8bit", "muon", "adam-mini"]] = ...,
    phase: Optional[Literal["training", "prefill", "decode"]] = ...,
    pin: Optional[Sequence[str]] = ...,
    pipeline_only: bool = ...,
    allow_lossy: Optional[Sequence[str]] = ...,
    plot: bool = ...,
    power_cap: Union[str, int, float, None] = ...,
    profile: Optional[_Path] = ...,
    pue: Union[str, int, float, None] = ...,
    qdq_as_written: bool = ...,
    replace: Optional[_Path] = ...,
    routing_trace: Optional[_Path] = ...,
    cached_tokens: Optional[int] = ...,
    kv_dtype: Optional[Literal["fp32", "fp16", "bf16", "fp8", "nvfp4", "q8_0", "q4_0"]] = ...,
    quantization: Optional[str] = ...,
    interference: Optional[_Path] = ...,
    rate: Union[str, int, float, None] = ...,
    ttft: Union[str, int, float, None] = ...,
    tpot: Union[str, int, float, None] = ...,
    percentile: Union[str, int, float, None] = ...,
    input_tokens: Optional[int] = ...,
    output_tokens: Optional[int] = ...,
    lengths: Optional[str] = ...,
    prefix_tokens: Optional[int] = ...,
    requests: Optional[_Path] = ...,
    concurrency: Optional[int] = ...,
    request_latency: Union[str, int, float, None] = ...,
    mode: Optional[Literal["auto", "aggregated", "disaggregated"]] = ...,
    scale: Optional[Sequence[str]] = ...,
    seed: Optional[int] = ...,
    sequence_length: Optional[int] = ...,
    spares: Optional[int] = ...,
    stack: Optional[str] = ...,
    task: Optional[Literal["train", "place", "infer", "solve"]] = ...,
    threads: Optional[int] = ...,
    time_limit: Union[str, int, float, None] = ...,
    tokens_per_step: Optional[int] = ...,
    traces: Optional[Sequence[_Path]] = ...,
    workload: Optional[Literal["inference", "training"]] = ...,
) -> Plan: ...

train = plan
place = plan
infer = plan
solve = plan

def simulate(
    plan: _Plan,
    model: Optional[_Path] = ...,
    *,
    all: bool = ...,
    allow_mismatch: bool = ...,
    batch: Optional[int] = ...,
    batch_axis: Optional[Mapping[str, int]] = ...,
    cluster: Optional[_Path] = ...,
    colocate: Optional[Sequence[str]] = ...,
    constraints: Optional[_Path] = ...,
    dims: Optional[Mapping[str, int]] = ...,
    dtype: Optional[Literal["fp64", "fp32", "fp16", "bf16", "fp8", "fp4"]] = ...,
    forbid: Optional[Sequence[str]] = ...,
    micro_batch: Optional[int] = ...,
    micro_batches: Optional[int] = ...,
    optimizer: Optional[Literal["adamw", "sgd", "adafactor", "adamw-16bit", "adamw-8bit", "paged-adamw", "paged-adamw-8bit", "lion", "lion-8bit", "muon", "adam-mini"]] = ...,
    pin: Optional[Sequence[str]] = ...,
    profile: Optional[_Path] = ...,
    qdq_as_written: bool = ...,
    scale: Optional[Sequence[str]] = ...,
    traces: Optional[Sequence[_Path]] = ...,
    workload: Optional[Literal["inference", "training"]] = ...,
) -> Dict[str, Any]: ...

def verify(
    plan: _Plan,
    model: Optional[_Path] = ...,
    *,
    all: bool = ...,
    allow_mismatch: bool = ...,
    batch: Optional[int] = ...,
    batch_axis: Optional[Mapping[str, int]] = ...,
    cluster: Optional[_Path] = ...,
    colocate: Optional[Sequence[str]] = ...,
    constraints: Optional[_Path] = ...,
    dims: Optional[Mapping[str, int]] = ...,
    dtype: Optional[Literal["fp64", "fp32", "fp16", "bf16", "fp8", "fp4"]] = ...,
    forbid: Optional[Sequence[str]] = ...,
    micro_batch: Optional[int] = ...,
    optimizer: Optional[Literal["adamw", "sgd", "adafactor", "adamw-16bit", "adamw-8bit", "paged-adamw", "paged-adamw-8bit", "lion", "lion-8bit", "muon", "adam-mini"]] = ...,
    pin: Optional[Sequence[str]] = ...,
    profile: Optional[_Path] = ...,
    qdq_as_written: bool = ...,
    scale: Optional[Sequence[str]] = ...,
    traces: Optional[Sequence[_Path]] = ...,
    workload: Optional[Literal["inference", "training"]] = ...,
) -> Dict[str, Any]: ...

def explain(
    plan: _Plan,
    model: Optional[_Path] = ...,
    *,
    all: bool = ...,
    allow_mismatch: bool = ...,
    batch: Optional[int] = ...,
    batch_axis: Optional[Mapping[str, int]] = ...,
    break_even: Optional[str] = ...,
    cluster: Optional[_Path] = ...,
    colocate: Optional[Sequence[str]] = ...,
    constraints: Optional[_Path] = ...,
    device: Optional[str] = ...,
    dims: Optional[Mapping[str, int]] = ...,
    dtype: Optional[Literal["fp64", "fp32", "fp16", "bf16", "fp8", "fp4"]] = ...,
    forbid: Optional[Sequence[str]] = ...,
    layer: Optional[int] = ...,
    longest: Optional[int] = ...,
    micro_batch: Optional[int] = ...,
    op: Optional[str] = ...,
    optimizer: Optional[Literal["adamw", "sgd", "adafactor", "adamw-16bit", "adamw-8bit", "paged-adamw", "paged-adamw-8bit", "lion", "lion-8bit", "muon", "adam-mini"]] = ...,
    pin: Optional[Sequence[str]] = ...,
    profile: Optional[_Path] = ...,
    qdq_as_written: bool = ...,
    scale: Optional[Sequence[str]] = ...,
    traces: Optional[Sequence[_Path]] = ...,
    transfer: Optional[str] = ...,
    why_not: Optional[Sequence[str]] = ...,
    workload: Optional[Literal["inference", "training"]] = ...,
) -> Dict[str, Any]: ...

def compare(
    a: _Plan,
    b: _Plan,
    *,
    all: bool = ...,
    allow_mismatch: bool = ...,
    batch: Optional[int] = ...,
    batch_axis: Optional[Mapping[str, int]] = ...,
    cluster: Optional[_Path] = ...,
    colocate: Optional[Sequence[str]] = ...,
    constraints: Optional[_Path] = ...,
    dims: Optional[Mapping[str, int]] = ...,
    dtype: Optional[Literal["fp64", "fp32", "fp16", "bf16", "fp8", "fp4"]] = ...,
    forbid: Optional[Sequence[str]] = ...,
    micro_batch: Optional[int] = ...,
    model: Optional[_Path] = ...,
    optimizer: Optional[Literal["adamw", "sgd", "adafactor", "adamw-16bit", "adamw-8bit", "paged-adamw", "paged-adamw-8bit", "lion", "lion-8bit", "muon", "adam-mini"]] = ...,
    pin: Optional[Sequence[str]] = ...,
    profile: Optional[_Path] = ...,
    qdq_as_written: bool = ...,
    scale: Optional[Sequence[str]] = ...,
    traces: Optional[Sequence[_Path]] = ...,
    workload: Optional[Literal["inference", "training"]] = ...,
) -> Dict[str, Any]: ...

def export(
    plan: _Plan,
    target: str,
    model: Optional[_Path] = ...,
    *,
    output: Optional[_Path] = ...,
    to: Optional[_Path] = ...,
    launcher: Optional[Literal["torchrun", "slurm", "k8s"]] = ...,
    force: bool = ...,
    all: bool = ...,
    allow_mismatch: bool = ...,
    batch: Optional[int] = ...,
    batch_axis: Optional[Mapping[str, int]] = ...,
    cluster: Optional[_Path] = ...,
    colocate: Optional[Sequence[str]] = ...,
    constraints: Optional[_Path] = ...,
    dims: Optional[Mapping[str, int]] = ...,
    dtype: Optional[Literal["fp64", "fp32", "fp16", "bf16", "fp8", "fp4"]] = ...,
    forbid: Optional[Sequence[str]] = ...,
    micro_batch: Optional[int] = ...,
    optimizer: Optional[Literal["adamw", "sgd", "adafactor", "adamw-16bit", "adamw-8bit", "paged-adamw", "paged-adamw-8bit", "lion", "lion-8bit", "muon", "adam-mini"]] = ...,
    pin: Optional[Sequence[str]] = ...,
    profile: Optional[_Path] = ...,
    qdq_as_written: bool = ...,
    scale: Optional[Sequence[str]] = ...,
    traces: Optional[Sequence[_Path]] = ...,
    workload: Optional[Literal["inference", "training"]] = ...,
) -> Dict[str, Any]: ...

def support(
    model: _Path,
    *,
    all: bool = ...,
    batch: Optional[int] = ...,
    batch_axis: Optional[Mapping[str, int]] = ...,
    dims: Optional[Mapping[str, int]] = ...,
    dtype: Optional[Literal["fp64", "fp32", "fp16", "bf16", "fp8", "fp4"]] = ...,
    micro_batch: Optional[int] = ...,
    qdq_as_written: bool = ...,
    sharding: bool = ...,
    traces: Optional[Sequence[_Path]] = ...,
    tree: bool = ...,
) -> Dict[str, Any]: ...

def algorithms() -> Dict[str, Any]: ...

def load(
    path: _Path,
    *,
    model: Optional[_Path] = ...,
    cluster: Optional[_Path] = ...,
    profile: Optional[_Path] = ...,
) -> Plan: ...

class Plan(Mapping[str, Any]):
    answer: Dict[str, Any]
    document: Dict[str, Any]
    made_for: Dict[str, str]
    def __init__(self, answer: Mapping[str, Any], asked: Optional[Mapping[str, Any]] = ...) -> None: ...
    def __getitem__(self, name: str) -> Any: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    @property
    def cost(self) -> Dict[str, Any]: ...
    @property
    def step_time_s(self) -> Optional[float]: ...
    @property
    def bound(self) -> Optional[float]: ...
    @property
    def peak_bytes(self) -> Optional[int]: ...
    @property
    def sha256(self) -> str: ...
    def memory(self) -> List[Dict[str, Any]]: ...
    def text(self) -> str: ...
    def save(self, path: _Path, *, force: bool = ...) -> None: ...
    def _repr_html_(self) -> str: ...

class MeshwrightError(Exception):
    document: Dict[str, Any]
    code: str
    message: str
    facts: Dict[str, Any]
    hints: List[str]
    exit_code: int
    @property
    def hint(self) -> Optional[str]: ...

class InternalError(MeshwrightError): ...
class UsageError(MeshwrightError, ValueError): ...
class InputError(MeshwrightError, ValueError): ...
class InfeasibleError(MeshwrightError): ...
class NoPlanError(MeshwrightError): ...
class IllegalPlanError(MeshwrightError): ...

class Interrupted(KeyboardInterrupt):
    plan: Optional[Plan]
