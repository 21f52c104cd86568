"""Predicts a transformer block from a profile of PyTorch and compares with its measured time.

    python check_torch_profile.py PROFILE.json

Two pre-norm layers (attention and a GELU MLP) run forward and backward in fp32. The prediction adds
up, op by op, the forms of the profile: products from `kernels`, the rest from `streams`. Prints both
times and the error, and those of choosing the largest 1 in 1,000 of a gradient; exits with 1 if an error
is above the limit.
"""

import argparse
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F

PRODUCT_BACKWARDS = 2
#: Elements, of a size that no profile times.
CHOSEN_FROM = 600_000


class Block(torch.nn.Module):
    """One layer, written out so that each op is one kernel of a known family."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(width) for _ in range(2))
        self.inner = torch.nn.Linear(width, 3 * width)
        self.outer = torch.nn.Linear(width, width)
        self.up = torch.nn.Linear(width, 4 * width)
        self.down = torch.nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        shape = (batch, length, 3, self.heads, width // self.heads)
        q, k, v = self.inner(self.norms[0](x)).view(shape).permute(2, 0, 3, 1, 4)
        scores = torch.softmax(q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5, -1)
        mixed = (scores @ v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.outer(mixed)
        return x + self.down(F.gelu(self.up(self.norms[1](x))))


class Profile:
    """Times by the forms of the cost model."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        (self.kind,) = document["kinds"].values()
        self.by_family = {}

    def add(self, family, seconds):
        self.by_family[family] = self.by_family.get(family, 0.0) + seconds
        return seconds

    def product(self, m, k, n, count=1):
        """`count` products of one call: launched once."""
        c = self.kind["kernels"]
        flops = self.kind["peak_flops_per_s"]["fp32"] * c["compute_efficiency"]
        rate = self.kind["memory_bytes_per_s"] * c["memory_efficiency"]
        compute = 2 * count * m * k * n / flops
        memory = 4 * count * (m * k + k * n + m * n) / rate
        p = c["p_norm"]
        return self.add("product", c["launch_s"] + (compute**p + memory**p) ** (1 / p))

    def stream(self, family, elements, tensors):
        c, size = self.kind["streams"][family], 4 * tensors * elements
        table = [(point["bytes"], point["time_s"]) for point in c.get("table", [])]
        if not table:
            return self.add(family, c["launch_s"] + size / c["bytes_per_s"])
        table = [(0, table[0][1]), *table]
        (x0, y0), (x1, y1) = next((pair for pair in zip(table, table[1:]) if size <= pair[1][0]), table[-2:])
        return self.add(family, y0 + (size - x0) * (y1 - y0) / (x1 - x0))


def predict(profile, batch, length, width, heads, layers):
    """Seconds of forward and backward of all layers."""
    rows, scores = batch * length, batch * heads * length * length
    dim = width // heads
    total = 0.0
    for _ in range(layers):
        # Linear layers: a product each (its bias rides along), backward two products and the sum
        # of the bias gradient.
        for k, n in [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]:
            total += profile.product(rows, k, n)
            total += profile.product(rows, n, k) + profile.product(k, rows, n)
            total += profile.stream("row-sum", rows * n, 1)
        # Attention: two batched products, backward four; q, k, v are copied to be contiguous, and
        # their gradients are put together again.
        for m, k, n in [(length, dim, length), (length, length, dim)]:
            total += (1 + PRODUCT_BACKWARDS) * profile.product(m, k, n, batch * heads)
        total += 3 * profile.stream("copy", rows * width, 2) + profile.stream(
            "copy", rows * width, 2
        )
        total += profile.stream("copy", rows * 3 * width, 2) + profile.stream(
            "copy", rows * width, 2
        )
        for family in ["scale", "softmax"]:
            total += profile.stream(family, scores, 2)
        total += profile.stream("scale", scores, 2)
        total += profile.stream("softmax-backward", scores, 3)
        # Two norms, GELU, two residual sums; backward, the gradient of each sum is added up.
        for _ in range(2):
            total += profile.stream("layer-norm", rows * width, 2)
            total += profile.stream("layer-norm-backward", rows * width, 3)
            total += 2 * profile.stream("add", rows * width, 3)
        total += profile.stream("gelu", rows * 4 * width, 2)
        total += profile.stream("gelu-backward", rows * 4 * width, 3)
    return total


def measure(batch, length, width, heads, layers, repeats, now):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(Block(width, heads) for _ in range(layers))).to(device)
    x = torch.randn(batch, length, width, device=device, requires_grad=True)
    grad = torch.randn_like(x)

    def step():
        # Gradients are made anew, not added up.
        model.zero_grad(set_to_none=True)
        x.grad = None
        model(x).backward(grad)

    return median(step, device, repeats, now)


def median(run, device, repeats, now):
    """Seconds, and their spread; the first two runs warm up."""
    times = []
    for _ in range(repeats + 2):
        if device == "cuda":
            torch.cuda.synchronize()
        start = now()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(now() - start)
    times = times[2:]
    middle = statistics.median(times)
    return middle, statistics.median(abs(t - middle) for t in times) / middle


def choosing(profile, repeats, now):
    """Seconds of choosing from a gradient, predicted and measured."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    gradient = torch.randn(CHOSEN_FROM, device=device)
    measured, _ = median(lambda: gradient[gradient.abs().topk(CHOSEN_FROM // 1000)[1]], device, repeats, now)
    return profile.stream("top-k", CHOSEN_FROM, 1), measured


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("profile", help="profile that `meshwright profile --backend torch` wrote")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--limit", type=float, default=0.2, help="largest error that passes")
    parser.add_argument("--cpu-time", action="store_true", help="as `profile_torch.py --cpu-time`")
    options = parser.parse_args()
    if options.cpu_time:
        torch.set_num_threads(1)
    now = time.process_time if options.cpu_time else time.perf_counter
    shape = (options.batch, options.length, options.width, options.heads, options.layers)
    profile = Profile(options.profile)
    predicted = predict(profile, *shape)
    measured, spread = measure(*shape, options.repeats, now)
    error = predicted / measured - 1.0
    for family, seconds in sorted(profile.by_family.items(), key=lambda item: -item[1]):
        print(f"  {family:22} {seconds * 1e3:9.3f} ms")
    predicted_choice, measured_choice = choosing(profile, options.repeats, now)
    error_of_choice = predicted_choice / measured_choice - 1.0
    print(f"choosing from {CHOSEN_FROM:,} elements: predicted {predicted_choice * 1e3:.2f} ms", end="")
    print(f", measured {measured_choice * 1e3:.2f} ms, error {error_of_choice:+.1%}")
    print(f"predicted {predicted * 1e3:.2f} ms, measured {measured * 1e3:.2f} ms", end="")
    print(f" (spread {spread:.1%}), error {error:+.1%}, limit {options.limit:.0%}")
    sys.exit(0 if max(abs(error), abs(error_of_choice)) <= options.limit else 1)


if __name__ == "__main__":
    main()
