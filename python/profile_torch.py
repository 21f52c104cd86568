"""Times PyTorch kernels on this machine and prints the samples as JSON.

`meshwright profile --backend torch` runs it as a child and fits the constants. Products are
`x @ w` in fp32 (bf16 as well on a CUDA device); the other families are timed forward and backward
on the shapes of a transformer block. Outputs are allocated in the timed region, as in real use. On
a processor both passes of a block of one token are timed too: what its launches take.
"""

import argparse
import json
import math
import random
import statistics
import time

import torch
import torch.nn.functional as F

BYTES = {torch.float32: 4, torch.bfloat16: 2}
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--products", type=int, default=64, help="random products per type")
    parser.add_argument("--repeats", type=int, default=7, help="timed batches per sample")
    parser.add_argument("--seed", type=int, default=0, help="seed of the shapes")
    parser.add_argument("--seconds", type=float, default=90.0, help="no sample starts after so long")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="one thread and its processor time, which other processes hardly disturb",
    )
    parser.add_argument("--only-products", action="store_true", help="leave out all other families")
    return parser.parse_args()


class Clock:
    """Medians of timed batches on one device."""

    def __init__(self, device, repeats, seconds, cpu_time):
        self.device = device
        self.now = time.process_time if cpu_time and device == "cpu" else time.perf_counter
        self.repeats = repeats
        self.end = time.perf_counter() + seconds
        self.skipped = 0

    def once(self, run, count):
        if self.device == "cuda":
            torch.cuda.synchronize()
        start = self.now()
        for _ in range(count):
            run()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return (self.now() - start) / count

    def time(self, task, run):
        """A sample, or nothing when the time is up. The first two runs warm up."""
        if time.perf_counter() > self.end:
            self.skipped += 1
            return []
        self.once(run, 1)
        count = max(1, min(10_000, math.ceil(4e-3 / max(self.once(run, 1), 1e-7))))
        times = [self.once(run, count) for _ in range(self.repeats)]
        middle = statistics.median(times)
        spread = statistics.median(abs(t - middle) for t in times) / middle
        return [{**task, "median_s": middle, "dispersion": spread, "batches": len(times)}]


def products(clock, options, dtype):
    draw = random.Random(options.seed)
    most = 1536 if clock.device == "cpu" else 8192
    samples = []
    for _ in range(options.products):
        m, k, n = (8 * round(math.exp(draw.uniform(math.log(32), math.log(most))) / 8) for _ in "mkn")
        x = torch.randn(m, k, device=clock.device, dtype=dtype)
        w = torch.randn(k, n, device=clock.device, dtype=dtype)
        task = {"task": "product", "dtype": NAMES[dtype], "m": m, "k": k, "n": n}
        samples += clock.time(task, lambda: x @ w)
    return samples


def chosen(x):
    """The largest of a thousand elements each, as `meshwright.torch.exchange` takes them."""
    flat = x.view(-1)
    return flat[flat.abs().topk(max(1, flat.numel() // 1000), sorted=False).indices]


def families(x):
    """Name, tensors of the size of `x` that are read and written, and what runs."""
    width = x.shape[-1]
    weight = torch.ones(width, device=x.device)
    bias = torch.zeros(width, device=x.device)
    y, grad = torch.randn_like(x), torch.randn_like(x)
    normed, mean, rstd = torch.native_layer_norm(x, [width], weight, bias, 1e-5)
    soft = torch.softmax(x, -1)
    mask = [True, True, True]
    aten = torch.ops.aten
    return [
        ("copy", 2, lambda: x.clone()),
        ("add", 3, lambda: x + y),
        ("bias", 2, lambda: x + bias),
        ("scale", 2, lambda: x * 0.125),
        ("gelu", 2, lambda: F.gelu(x)),
        ("gelu-backward", 3, lambda: aten.gelu_backward(grad, x)),
        ("layer-norm", 2, lambda: F.layer_norm(x, [width], weight, bias)),
        (
            "layer-norm-backward",
            3,
            lambda: aten.native_layer_norm_backward(
                grad, x, [width], mean, rstd, weight, bias, mask
            ),
        ),
        ("softmax", 2, lambda: torch.softmax(x, -1)),
        (
            "softmax-backward",
            3,
            lambda: aten._softmax_backward_data(grad, soft, -1, torch.float32),
        ),
        ("row-sum", 1, lambda: x.sum(0)),
        ("accumulate", 3, lambda: y.add_(x, alpha=0.0)),
        ("top-k", 1, lambda: chosen(x)),
    ]


def streams(clock):
    samples = []
    most = 24 if clock.device == "cpu" else 27
    for log in range(15, most + 1, 2 if clock.device == "cuda" else 1):
        x = torch.randn(2**log // 512, 512, device=clock.device)
        for family, tensors, run in families(x):
            task = {"task": "stream", "family": family, "bytes": tensors * x.numel() * 4}
            samples += clock.time(task, run)
    return samples


class Block(torch.nn.Module):
    """A transformer block that is too small for its kernels to count."""

    WIDTH = 16

    def __init__(self):
        super().__init__()
        width = self.WIDTH
        self.first, self.second = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.qkv, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x):
        parts = self.qkv(self.first(x)).chunk(3, -1)
        query, key, value = (own.unflatten(-1, (2, -1)).transpose(1, 2) for own in parts)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.second(x))))


def block(clock):
    """Seconds of both passes of one more block: what a pass takes by itself is left out."""
    if clock.device != "cpu":
        return None
    few, many = 2, 10
    x = torch.randn(1, 1, Block.WIDTH)
    taken = []
    with torch.enable_grad():
        for n in (few, many):
            model = torch.nn.Sequential(*(Block() for _ in range(n)))
            taken += clock.time({}, lambda model=model: model(x).sum().backward())
    seconds = [sample["median_s"] for sample in taken]
    if len(seconds) < 2 or seconds[1] <= seconds[0]:
        return None
    return (seconds[1] - seconds[0]) / (many - few)


def copies(clock):
    if clock.device != "cuda":
        return []
    samples = []
    for log in range(12, 28, 2):
        host = torch.empty(2**log, dtype=torch.uint8, pin_memory=True)
        there = torch.empty(2**log, dtype=torch.uint8, device="cuda")
        for link, run in [
            ("host-to-device", lambda: there.copy_(host, non_blocking=True)),
            ("device-to-host", lambda: host.copy_(there, non_blocking=True)),
        ]:
            samples += clock.time({"task": "transfer", "link": link, "bytes": 2**log}, run)
    return samples


def main():
    options = arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(options.seed)
    if options.cpu_time:
        torch.set_num_threads(1)
    clock = Clock(device, options.repeats, options.seconds, options.cpu_time)
    samples, block_s = [], None
    with torch.no_grad():
        if not options.only_products:
            block_s = block(clock)
            samples += streams(clock) + copies(clock)
        for dtype in [torch.float32] + ([torch.bfloat16] if device == "cuda" else []):
            samples += products(clock, options, dtype)
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    print(
        json.dumps(
            {
                "torch": torch.__version__,
                "device": device,
                "name": name,
                "threads": torch.get_num_threads(),
                "skipped": clock.skipped,
                "block_s": block_s,
                "samples": samples,
            }
        )
    )


if __name__ == "__main__":
    main()
