"""Steps, passes and decode loops of models with random weights on one CUDA device.

    python measure.py rows.json

Rows go to the file as they come; `LIMIT` in the environment is the most seconds that all may take.
`steps.csv`, `passes.csv` and `decode.csv` hold what one H100 took. With `--tiny` anything runs on a processor.
"""

import gc, math, os, statistics, time, traceback
import torch, torch.nn as nn, torch.nn.functional as F
from rows import DEV, RESULT, TINY, left, save, sync, write


def section(f):
    if left() < 15:
        RESULT["errors"].append([f.__name__, "no time"])
        return
    t = time.time()
    try:
        f()
    except Exception:
        RESULT["errors"].append([f.__name__, traceback.format_exc()[-1500:]])
        print(traceback.format_exc()[-1500:], flush=True)
    print("section", f.__name__, round(time.time() - t, 1), flush=True)
    free()
    write()


def free():
    gc.collect()
    if DEV == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def times(run, warm=3, n=7, least=0.0):
    for _ in range(warm):
        run()
    sync()
    out = []
    for _ in range(n):
        t = time.perf_counter()
        run()
        sync()
        out.append(time.perf_counter() - t)
    m = statistics.median(out)
    return m, statistics.median(abs(x - m) for x in out) / m


class RMS(nn.Module):
    def __init__(s, d):
        super().__init__()
        s.weight = nn.Parameter(torch.ones(d))

    def forward(s, x):
        return F.rms_norm(x, (x.shape[-1],), s.weight, 1e-5)


def rope(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Block(nn.Module):
    def __init__(s, c):
        super().__init__()
        d, h, k, f = c["d"], c["h"], c["kv"], c["f"]
        s.h, s.k, s.e = h, k, c["hd"]
        s.n1, s.n2 = RMS(d), RMS(d)
        lin = lambda a, b: nn.Linear(a, b, bias=False)
        s.q, s.kp, s.v, s.o = lin(d, h * s.e), lin(d, k * s.e), lin(d, k * s.e), lin(h * s.e, d)
        s.g, s.u, s.w = lin(d, f), lin(d, f), lin(f, d)

    def forward(s, x, cos, sin):
        b, n, _ = x.shape
        y = s.n1(x)
        q = s.q(y).view(b, n, s.h, s.e).transpose(1, 2)
        k = s.kp(y).view(b, n, s.k, s.e).transpose(1, 2)
        v = s.v(y).view(b, n, s.k, s.e).transpose(1, 2)
        q, k = rope(q, cos, sin), rope(k, cos, sin)
        r = s.h // s.k
        k, v = k.repeat_interleave(r, 1), v.repeat_interleave(r, 1)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + s.o(o.transpose(1, 2).reshape(b, n, -1))
        y = s.n2(x)
        return x + s.w(F.silu(s.g(y)) * s.u(y))

    def decode(s, x, cos, sin, K, V):
        b = x.shape[0]
        y = s.n1(x)
        q = s.q(y).view(b, 1, s.h, s.e).transpose(1, 2)
        k = s.kp(y).view(b, 1, s.k, s.e).transpose(1, 2)
        v = s.v(y).view(b, 1, s.k, s.e).transpose(1, 2)
        q, k = rope(q, cos, sin), rope(k, cos, sin)
        K[:, :, -1:], V[:, :, -1:] = k, v
        r = s.h // s.k
        o = F.scaled_dot_product_attention(q.reshape(b, s.k, r, s.e), K, V)
        x = x + s.o(o.reshape(b, 1, -1))
        y = s.n2(x)
        return x + s.w(F.silu(s.g(y)) * s.u(y))


class Llama(nn.Module):
    def __init__(s, c):
        super().__init__()
        s.c = c
        s.emb = nn.Embedding(c["v"], c["d"])
        s.blocks = nn.ModuleList(Block(c) for _ in range(c["l"]))
        s.norm = RMS(c["d"])
        s.out = nn.Linear(c["d"], c["v"], bias=False)

    def tables(s, n, dtype, off=0):
        t = torch.arange(off, off + n, device=DEV)[:, None] * (
            5e5 ** (-torch.arange(0, s.c["hd"], 2, device=DEV) / s.c["hd"])
        )
        return t.cos().to(dtype), t.sin().to(dtype)

    def forward(s, ids, cos, sin):
        x = s.emb(ids)
        for b in s.blocks:
            x = b(x, cos, sin)
        return s.out(s.norm(x))


C = {
    "llama-1b": dict(d=2048, h=32, kv=8, hd=64, f=8192, l=16, v=128256),
    "llama-3b": dict(d=3072, h=24, kv=8, hd=128, f=8192, l=28, v=128256),
    "llama-8b": dict(d=4096, h=32, kv=8, hd=128, f=14336, l=32, v=128256),
}
if TINY:
    C = {n: dict(d=64, h=4, kv=2, hd=16, f=128, l=2, v=256) for n in C}
S = (lambda n: min(n, 32)) if TINY else (lambda n: n)


def train(name, seq, mb, acc, recompute, compiled, shard=True):
    if left() < 25:
        RESULT["errors"].append([f"train {name} {seq} {mb}", "no time"])
        return
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard, MixedPrecisionPolicy
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    if not dist.is_initialized():
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29511", RANK="0", WORLD_SIZE="1")
        dist.init_process_group("nccl" if DEV == "cuda" else "gloo")
    t0 = time.time()
    free()
    torch._dynamo.reset()
    seq = S(seq)
    torch.manual_seed(0)
    with torch.device(DEV):
        m = Llama(C[name])
    for i, b in enumerate(m.blocks):
        if recompute == "full":
            b = checkpoint_wrapper(b, preserve_rng_state=False)
        if compiled:
            b = torch.compile(b, fullgraph=True, dynamic=False)
        m.blocks[i] = b
    if shard:
        from torch.distributed.device_mesh import init_device_mesh

        mesh = init_device_mesh(DEV, (1,))
        mp = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        for b in m.blocks:
            fully_shard(b, mesh=mesh, mp_policy=mp)
        fully_shard(m, mesh=mesh, mp_policy=mp)
    cos, sin = m.tables(seq, torch.bfloat16)
    opt = torch.optim.AdamW(m.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(C[name]["v"], (mb, seq), device=DEV)
    loss_of = lambda o, y: F.cross_entropy(o.flatten(0, 1).float(), y.flatten())
    if compiled:
        loss_of = torch.compile(loss_of, dynamic=False)

    def step():
        for _ in range(acc):
            loss_of(m(ids, cos, sin), ids).backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        opt.step()
        opt.zero_grad()

    step()
    sync()
    if DEV == "cuda":
        torch.cuda.reset_peak_memory_stats()
    s, d = times(step, 2, 5)
    row = {}
    if DEV == "cuda":
        row = dict(peak_allocated=torch.cuda.max_memory_allocated(), peak_reserved=torch.cuda.max_memory_reserved())
    save(
        kind="train",
        model=name,
        seq=seq,
        micro_batch=mb,
        accumulate=acc,
        recompute=recompute,
        compiled=compiled,
        step_s=s,
        dispersion=d,
        took=round(time.time() - t0, 1),
        **row,
    )
    del m, opt, ids


#: Model, tokens of a sample, micro-batch, micro-batches, recompute; compiled, then eager.
STEPS = {
    True: [
        ("llama-1b", 2048, 8, 1, "none"),
        ("llama-1b", 4096, 2, 2, "none"),
        ("llama-1b", 16384, 1, 2, "full"),
        ("llama-3b", 2048, 4, 4, "full"),
        ("llama-1b", 8192, 1, 4, "none"),
        ("llama-1b", 32768, 1, 1, "full"),
        ("llama-3b", 4096, 2, 1, "full"),
        ("llama-3b", 8192, 1, 1, "full"),
    ],
    False: [
        ("llama-1b", 1024, 4, 1, "none"),
        ("llama-1b", 2048, 8, 1, "full"),
        ("llama-3b", 8192, 1, 2, "full"),
        ("llama-1b", 2048, 4, 1, "none"),
        ("llama-1b", 512, 1, 1, "none"),
        ("llama-1b", 8192, 1, 4, "none"),
        ("llama-1b", 16384, 1, 1, "full"),
        ("llama-3b", 4096, 2, 1, "full"),
        ("llama-3b", 1024, 4, 2, "none"),
    ],
}


def training():
    for compiled, steps in STEPS.items():
        for step in steps:
            train(*step, compiled)


def decode():
    for name, batches in [
        ("llama-8b", [(1, 1024), (8, 1024), (64, 1024), (1, 8192), (16, 8192)]),
        ("llama-1b", [(1, 1024), (64, 1024), (64, 4096)]),
    ]:
        with torch.no_grad(), torch.device(DEV):
            torch.set_default_dtype(torch.bfloat16)
            m = Llama(C[name])
            torch.set_default_dtype(torch.float32)
            for n in ([512, 2048, 8192] if name == "llama-8b" else [2048]):
                n = S(n)
                cos, sin = m.tables(n, torch.bfloat16)
                ids = torch.randint(C[name]["v"], (1, n))

                def pre():
                    x = m.emb(ids)
                    for b in m.blocks:
                        x = b(x, cos, sin)
                    return m.out(m.norm(x[:, -1:]))

                s, d = times(pre, 2, 5)
                save(kind="prefill", model=name, dtype="bf16", tokens=n, seconds=s, dispersion=d, graph=False)
            for b, n in batches:
                n = S(n)
                c = C[name]
                KV = [
                    (
                        torch.randn(b, c["kv"], n, c["hd"], dtype=torch.bfloat16),
                        torch.randn(b, c["kv"], n, c["hd"], dtype=torch.bfloat16),
                    )
                    for _ in range(c["l"])
                ]
                ids = torch.randint(c["v"], (b, 1))
                cos, sin = m.tables(1, torch.bfloat16, n)

                def one():
                    x = m.emb(ids)
                    for blk, (K, V) in zip(m.blocks, KV):
                        x = blk.decode(x, cos, sin, K, V)
                    return m.out(m.norm(x)).argmax(-1)

                eager, _ = times(one, 3, 7)
                run, graphed = one, False
                if DEV == "cuda":
                    side = torch.cuda.Stream()
                    side.wait_stream(torch.cuda.current_stream())
                    with torch.cuda.stream(side):
                        one()
                        one()
                    torch.cuda.current_stream().wait_stream(side)
                    g = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(g):
                        one()
                    run, graphed = g.replay, True
                s, d = times(lambda: [run() for _ in range(10)], 2, 7)
                save(
                    kind="decode",
                    model=name,
                    dtype="bf16",
                    batch=b,
                    cached=n,
                    seconds=s / 10,
                    dispersion=d,
                    graph=graphed,
                    eager_s=eager,
                )
                del KV
                if DEV == "cuda":
                    del g
                run = None
                free()
            del m


def inference():
    import torchvision, transformers

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False

    def hf(kind, cls, **k):
        c = transformers.AutoConfig.for_model(kind, **k)
        c.use_cache = False
        return getattr(transformers, cls).from_config(c)

    gpt = dict(n_embd=768, n_layer=12, n_head=12)
    cases = [
        ("gpt2_small", lambda: hf("gpt2", "AutoModelForCausalLM", **gpt), "ids", [(8, 1024), (1, 128)]),
        ("gpt2_xl", lambda: hf("gpt2", "AutoModelForCausalLM", n_embd=1600, n_layer=48, n_head=25), "ids", [(4, 1024)]),
        (
            "bert_large",
            lambda: hf(
                "bert",
                "AutoModel",
                hidden_size=1024,
                num_hidden_layers=24,
                num_attention_heads=16,
                intermediate_size=4096,
            ),
            "ids",
            [(16, 512), (1, 128)],
        ),
        ("resnet50", lambda: torchvision.models.resnet50(), "image", [(64, 224), (1, 224)]),
        ("vit_l_16", lambda: torchvision.models.vit_l_16(), "image", [(32, 224)]),
        (
            "inception_v3",
            lambda: torchvision.models.inception_v3(init_weights=False, aux_logits=True),
            "image",
            [(64, 299)],
        ),
    ]
    if TINY:
        cases = [
            ("gpt2_small", lambda: hf("gpt2", "AutoModelForCausalLM", n_embd=64, n_layer=2, n_head=4), "ids", [(2, 16)])
        ]
    for name, build, what, shapes in cases:
        with torch.device(DEV):
            m = build().eval()
        for dtype in (torch.float32, torch.bfloat16):
            m = m.to(dtype)
            for at, (b, n) in enumerate(shapes):
                x = (
                    torch.randint(1000, (b, n), device=DEV)
                    if what == "ids"
                    else torch.randn(b, 3, n, n, device=DEV, dtype=dtype)
                )
                for compiled in (
                    (False, True)
                    if at == 0 and name in ("gpt2_small", "bert_large", "resnet50") and left() > 60
                    else (False,)
                ):
                    if left() < 15:
                        return
                    torch._dynamo.reset()
                    run = torch.compile(m, dynamic=False) if compiled else m
                    with torch.no_grad():
                        try:
                            s, d = times(lambda: run(x), 3, 7)
                        except Exception as e:
                            RESULT["errors"].append([name, str(dtype), compiled, str(e)[-500:]])
                            continue
                    save(
                        kind="inference",
                        model=name,
                        dtype=str(dtype)[6:],
                        batch=b,
                        length=n,
                        compiled=compiled,
                        seconds=s,
                        dispersion=d,
                    )
        del m
        free()


def overlap():
    if DEV != "cuda":
        return
    n = 8192
    a, b = (torch.randn(n, n, device=DEV, dtype=torch.bfloat16) for _ in "ab")
    c = torch.empty_like(a)
    host = torch.empty(256 << 20, dtype=torch.uint8, pin_memory=True)
    there = torch.empty(256 << 20, dtype=torch.uint8, device=DEV)
    big = torch.randn(512 << 20, device=DEV, dtype=torch.bfloat16)
    big2 = torch.empty_like(big)
    side = torch.cuda.Stream()

    def gemms(k):
        for _ in range(k):
            torch.mm(a, b, out=c)

    works = {
        "host-to-device": lambda: there.copy_(host, non_blocking=True),
        "device-to-host": lambda: host.copy_(there, non_blocking=True),
        "memory": lambda: big2.copy_(big),
    }
    gemms(20)
    alone, _ = times(lambda: gemms(20))
    save(kind="overlap", what="product alone", seconds=alone / 20)
    for name, w in works.items():
        w_alone, _ = times(lambda: [w() for _ in range(10)])

        def timed(first, k1, second, k2):
            """Seconds of `first` while `second` runs beside it all the time."""
            e = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            sync()
            with torch.cuda.stream(side):
                for _ in range(k2):
                    second()
            e[0].record()
            for _ in range(k1):
                first()
            e[1].record()
            sync()
            return e[0].elapsed_time(e[1]) / 1e3 / k1

        k2 = math.ceil(alone * 2.5 / (w_alone / 10))
        gemm_beside = statistics.median(timed(lambda: torch.mm(a, b, out=c), 20, w, k2) for _ in range(5))
        k1 = math.ceil(w_alone * 2.5 / (alone / 20))
        w_beside = statistics.median(timed(w, 10, lambda: torch.mm(a, b, out=c), k1) for _ in range(5))
        save(
            kind="overlap",
            what=name,
            alone_s=w_alone / 10,
            beside_s=w_beside,
            product_alone_s=alone / 20,
            product_beside_s=gemm_beside,
        )


if DEV == "cuda":
    p = torch.cuda.get_device_properties(0)
    save(
        kind="machine",
        name=p.name,
        total_memory=p.total_memory,
        free=torch.cuda.mem_get_info()[0],
        torch=torch.__version__,
        cuda=torch.version.cuda,
    )
for f in (overlap, decode, training, inference):
    section(f)
