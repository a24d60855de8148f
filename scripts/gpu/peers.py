# What Python libraries do on this card with the shapes of `npm run bench -- gpu`, on random normal data, timed with events.
#   peers.py torch|jax --out FILE [--seconds N] [--small]
# FILE is written after each row, in the form of the bench's rows. A library that is not here, or a row that fails, is said.
import argparse
import json
import statistics
import time

parser = argparse.ArgumentParser()
parser.add_argument("library", choices=["torch", "jax"])
parser.add_argument("--out", required=True)
parser.add_argument("--seconds", type=float, default=1e9)
parser.add_argument("--small", action="store_true")
options = parser.parse_args()
small = options.small
end = time.perf_counter() + options.seconds

ATTENTION = (2, 2, 64, 32) if small else (4, 16, 4096, 128)  # batch, heads, sequence, depth
PRODUCTS = {"products": [32] if small else [4096, 8192], "small": [32] if small else [256, 512, 1024]}
ROWS, COLUMNS, VOCABULARY = (16, 64, 96) if small else (16384, 4096, 50304)
LAYER = (2, 16, 32, 64, 2) if small else (8, 2048, 4096, 16384, 32)  # batch, sequence, hidden, MLP, heads
MODEL = (2, 16, 32, 2, 1, 96) if small else (16, 1024, 768, 12, 12, 50304)  # batch, sequence, hidden, heads, layers, vocabulary

report = {"library": options.library, "rows": []}


def save():
    with open(options.out, "w") as file:
        json.dump(report, file, indent=1)


def row(group, name, shape, dtype, times, flops=0, moved=0):
    found = {"group": group, "name": name, "shape": shape, "dtype": dtype}
    try:
        if time.perf_counter() > end:
            raise TimeoutError("the time was over")
        samples = times()
        ms = statistics.median(samples)
        found.update(ms=ms, least=min(samples), most=max(samples))
        if flops:
            found["tflops"] = flops / ms / 1e9
        if moved:
            found["gbps"] = moved / ms / 1e6
    except Exception as error:
        found.update(ms="not measured", why=f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}")
    report["rows"].append(found)
    print(f"{group}: {name}, {dtype}, {shape}: {found.get('why') or '%.4f ms' % found['ms']}", flush=True)
    save()


def attention_shape():
    batch, heads, sequence, depth = ATTENTION
    return f"batch {batch}, {heads} heads, sequence {sequence}, depth {depth}, causal", 2 * batch * heads * sequence**2 * depth


def layer_shape():
    batch, sequence, hidden, mlp, heads = LAYER
    flops = 3 * (2 * batch * sequence * (4 * hidden * hidden + 2 * hidden * mlp) + 2 * batch * sequence**2 * hidden)
    return f"hidden {hidden}, MLP {mlp}, {heads} heads, batch {batch}, sequence {sequence}, causal", flops


def with_torch():
    import torch
    import torch.nn.functional as F

    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    bf16 = torch.bfloat16
    report["version"] = torch.__version__
    report["card"] = torch.cuda.get_device_name() if gpu else "none"
    torch.manual_seed(0)

    # Batches of calls that follow one another, as in the bench.
    def timed(f, batches=7, budget=40.0):
        def times():
            for _ in range(3):
                f()
            if not gpu:
                began = time.perf_counter()
                f()
                return [(time.perf_counter() - began) * 1e3]

            def batch(n):
                a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                a.record()
                for _ in range(n):
                    f()
                b.record()
                b.synchronize()
                return a.elapsed_time(b) / n

            n = max(1, min(400, int(budget / max(batch(1), 1e-3))))
            return [batch(n) for _ in range(batches)]

        return times

    normal = lambda *shape, dtype=bf16: torch.randn(*shape, device=device, dtype=dtype)

    def products(group):
        for n in PRODUCTS[group]:
            a, b, flops, shape = normal(n, n), normal(n, n), 2 * n**3, f"{n} × {n} × {n}"
            row(group, "a · b", shape, "bfloat16", timed(lambda: a @ b), flops)
            if group == "products":
                row(group, "a · bᵀ", shape, "bfloat16", timed(lambda: a @ b.t()), flops)
                row(group, "aᵀ · b", shape, "bfloat16", timed(lambda: a.t() @ b), flops)

            def scaled():
                qa, qb = a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn).t()
                one = torch.ones((), device=device)
                return timed(lambda: torch._scaled_mm(qa, qb, one, one, out_dtype=bf16, use_fast_accum=True))()

            row(group, "a · bᵀ of FP8", shape, "float8_e4m3fn", scaled, flops)

    def copies():
        x = normal(2**12 if small else 2**28, dtype=torch.float32)
        y = torch.empty_like(x)
        row("copies", "copy", f"{x.numel()}", "float32", timed(lambda: y.copy_(x)), moved=8 * x.numel())

    def attention():
        from torch.nn.attention import SDPBackend, sdpa_kernel

        batch, heads, sequence, depth = ATTENTION
        shape, flops = attention_shape()
        q, k, v = (normal(batch, heads, sequence, depth).requires_grad_() for _ in range(3))
        dy = normal(batch, heads, sequence, depth)
        for backend in [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION] if gpu else [SDPBackend.MATH]:
            with sdpa_kernel(backend):
                f = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True)
                row("attention", f"forward, {backend.name}", shape, "bfloat16", timed(f), flops)

                def backward():
                    out = f()
                    return timed(lambda: torch.autograd.grad(out, (q, k, v), dy, retain_graph=True))()

                row("attention", f"backward, {backend.name}", shape, "bfloat16", backward, 2.5 * flops)

    def layer_of(compiled):
        batch, sequence, hidden, mlp, heads = LAYER
        shape, flops = layer_shape()
        weight = lambda rows, columns: (torch.randn(rows, columns, device=device) / rows**0.5).to(bf16).requires_grad_()
        wqkv, wo, w1, w2 = weight(hidden, 3 * hidden), weight(hidden, hidden), weight(hidden, mlp), weight(mlp, hidden)
        g1, g2 = (torch.ones(hidden, device=device, dtype=bf16, requires_grad=True) for _ in range(2))
        x, dy = normal(batch, sequence, hidden).requires_grad_(), normal(batch, sequence, hidden)

        def forward(x):
            qkv = (F.layer_norm(x, (hidden,), g1) @ wqkv).view(batch, sequence, 3, heads, hidden // heads)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, sequence, hidden)
            x = x + mixed @ wo
            return x + F.gelu(F.layer_norm(x, (hidden,), g2) @ w1, approximate="tanh") @ w2

        f = torch.compile(forward) if compiled else forward
        step = lambda: torch.autograd.grad(f(x), (x, wqkv, wo, w1, w2, g1, g2), dy)
        row("layer", f"forward and backward, {'compiled' if compiled else 'eager'}", shape, "bfloat16", timed(step), flops)

    def memory():
        x, w = normal(ROWS, COLUMNS), torch.ones(COLUMNS, device=device, dtype=bf16)
        one, shape = 2 * x.numel(), f"{ROWS} × {COLUMNS}"  # the bytes of x

        def of(name, f, moved, shape=shape, dtype="bfloat16"):
            row("memory", name, shape, dtype, timed(f), moved=moved)

        def backward(name, f, *inputs, moved, shape=shape):
            """The gradients alone, of a result that is kept."""
            inputs = [t.detach().requires_grad_() for t in inputs]
            out = f(*inputs)
            dy = torch.randn_like(out)
            of(name, lambda: torch.autograd.grad(out, inputs, dy, retain_graph=True), moved, shape)

        of("layer_norm", lambda: F.layer_norm(x, (COLUMNS,), w, w), 2 * one)
        backward("layer_norm backward", lambda x, g, b: F.layer_norm(x, (COLUMNS,), g, b), x, w, w, moved=3 * one)
        of("rms_norm", lambda: F.rms_norm(x, (COLUMNS,), w), 2 * one)
        backward("rms_norm backward", lambda x, g: F.rms_norm(x, (COLUMNS,), g), x, w, moved=3 * one)
        of("softmax", lambda: x.softmax(-1), 2 * one)
        wide = x.float()
        of("cast to bfloat16", lambda: wide.to(bf16), 3 * one, dtype="float32")
        of("quantize", lambda: (x * 16).clamp(-448, 448).to(torch.float8_e4m3fn), 3 * one // 2)
        of("transpose", lambda: x.t().contiguous(), 2 * one)
        of("sum of rows", lambda: x.sum(0), one)
        of("bias and gelu", lambda: F.gelu(x + w, approximate="tanh"), 2 * one)
        u = normal(ROWS, 4 * COLUMNS)
        of("gelu", lambda: F.gelu(u, approximate="tanh"), 8 * one, f"{ROWS} × 1 × {4 * COLUMNS}")
        gate = lambda u: F.silu(u[:, 0]) * u[:, 1]
        pair = u.view(ROWS, 2, 2 * COLUMNS)
        of("swiglu", lambda: gate(pair), 6 * one, f"{ROWS} × 2 × {2 * COLUMNS}")
        backward("swiglu backward", gate, pair, moved=10 * one, shape=f"{ROWS} × {2 * COLUMNS}")
        del u, pair, wide
        logits, targets = normal(ROWS // 2, VOCABULARY), torch.randint(0, VOCABULARY, (ROWS // 2,), device=device)
        each = lambda: F.cross_entropy(logits, targets, reduction="none")
        of("cross_entropy", each, 2 * logits.numel(), f"{ROWS // 2} × {VOCABULARY}")
        del logits
        parameter = torch.nn.Parameter(torch.randn(ROWS, COLUMNS, device=device))
        parameter.grad = torch.randn_like(parameter)
        of("adamw", torch.optim.AdamW([parameter], fused=gpu).step, 7 * 2 * one, dtype="float32")

    def model():
        batch, sequence, hidden, heads, layers, vocabulary = MODEL

        class Block(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.n1, self.n2 = torch.nn.LayerNorm(hidden), torch.nn.LayerNorm(hidden)
                self.qkv, self.o = torch.nn.Linear(hidden, 3 * hidden, bias=False), torch.nn.Linear(hidden, hidden, bias=False)
                self.up, self.down = torch.nn.Linear(hidden, 4 * hidden, bias=False), torch.nn.Linear(4 * hidden, hidden, bias=False)

            def forward(self, x):
                shape = x.shape[0], x.shape[1], 3, heads, hidden // heads
                q, k, v = self.qkv(self.n1(x)).view(shape).permute(2, 0, 3, 1, 4)
                x = x + self.o(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
                return x + self.down(F.gelu(self.up(self.n2(x)), approximate="tanh"))

        class Model(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.embed = torch.nn.Embedding(vocabulary, hidden)
                self.blocks = torch.nn.ModuleList(Block() for _ in range(layers))
                self.norm, self.head = torch.nn.LayerNorm(hidden), torch.nn.Linear(hidden, vocabulary, bias=False)

            def forward(self, ids):
                x = self.embed(ids[:, :-1])
                for block in self.blocks:
                    x = block(x)
                logits = self.head(self.norm(x))
                return F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())

        network = Model().to(device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=gpu)
        compiled = torch.compile(network) if gpu else network
        ids = torch.randint(0, vocabulary, (batch, sequence + 1), device=device)

        def step():
            with torch.autocast(device, dtype=bf16):
                loss = compiled(ids)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        shape = f"{layers} layers of {hidden}, {heads} heads, vocabulary {vocabulary}, batch {batch}, sequence {sequence}"
        row("train step", "GPT-2 124M's size, compiled", shape, "bfloat16", timed(step))
        if isinstance(report["rows"][-1]["ms"], float):
            report["rows"][-1]["tokensPerSecond"] = batch * sequence * 1000 / report["rows"][-1]["ms"]
            save()

    large, little = (lambda group=group: products(group) for group in PRODUCTS)
    return [copies, large, attention, lambda: layer_of(False), lambda: layer_of(gpu), memory, little, model]


def with_jax():
    import jax
    import jax.numpy as jnp

    report["version"] = jax.__version__
    report["card"] = str(jax.devices()[0])
    gpu = jax.default_backend() == "gpu"
    bf16 = jnp.bfloat16
    keys = iter(jax.random.split(jax.random.key(0), 64))
    normal = lambda *shape: jax.random.normal(next(keys), shape, bf16)

    def timed(f, *arguments, batches=7, budget=0.04):
        def times():
            g = jax.jit(f)
            for _ in range(3):
                jax.block_until_ready(g(*arguments))

            def batch(n):
                began = time.perf_counter()
                for _ in range(n):
                    result = g(*arguments)
                jax.block_until_ready(result)
                return (time.perf_counter() - began) / n

            n = max(1, min(400, int(budget / batch(1)))) if gpu else 1
            return [1e3 * batch(n) for _ in range(batches if gpu else 1)]

        return times

    def products(group):
        for n in PRODUCTS[group]:
            row(group, "a · b", f"{n} × {n} × {n}", "bfloat16", timed(jnp.matmul, normal(n, n), normal(n, n)), 2 * n**3)

    def attention():
        batch, heads, sequence, depth = ATTENTION
        shape, flops = attention_shape()
        q, k, v, dy = (normal(batch, sequence, heads, depth) for _ in range(4))
        attend = lambda q, k, v: jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation="cudnn" if gpu else "xla")
        row("attention", "forward, cuDNN", shape, "bfloat16", timed(attend, q, k, v), flops)
        both = lambda q, k, v, dy: jax.vjp(attend, q, k, v)[1](dy)
        row("attention", "forward and backward, cuDNN", shape, "bfloat16", timed(both, q, k, v, dy), 3.5 * flops)

    def layer():
        batch, sequence, hidden, mlp, heads = LAYER
        shape, flops = layer_shape()
        weight = lambda rows, columns: normal(rows, columns) / rows**0.5
        weights = weight(hidden, 3 * hidden), weight(hidden, hidden), weight(hidden, mlp), weight(mlp, hidden)
        x, dy = normal(batch, sequence, hidden), normal(batch, sequence, hidden)
        implementation = "cudnn" if gpu else "xla"

        def norm(x):
            wide = x.astype(jnp.float32)
            return jax.nn.standardize(wide, axis=-1, epsilon=1e-6).astype(bf16)

        def forward(x, weights):
            wqkv, wo, w1, w2 = weights
            q, k, v = jnp.split((norm(x) @ wqkv).reshape(batch, sequence, 3 * heads, -1), 3, axis=2)
            mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=implementation)
            x = x + mixed.reshape(batch, sequence, hidden) @ wo
            return x + jax.nn.gelu(norm(x) @ w1) @ w2

        step = lambda x, weights, dy: jax.vjp(forward, x, weights)[1](dy)
        row("layer", "forward and backward", shape, "bfloat16", timed(step, x, weights, dy), flops)

    def memory():
        x = normal(ROWS, COLUMNS)
        one, shape = 2 * x.size, f"{ROWS} × {COLUMNS}"
        standard = lambda x: jax.nn.standardize(x.astype(jnp.float32), axis=-1).astype(bf16)
        row("memory", "layer_norm", shape, "bfloat16", timed(standard, x), moved=2 * one)
        row("memory", "softmax", shape, "bfloat16", timed(jax.nn.softmax, x), moved=2 * one)
        row("memory", "bias and gelu", shape, "bfloat16", timed(lambda x: jax.nn.gelu(x + 1), x), moved=2 * one)
        row("memory", "transpose", shape, "bfloat16", timed(jnp.transpose, x), moved=2 * one)
        row("memory", "sum of rows", shape, "bfloat16", timed(lambda x: x.sum(0), x), moved=one)

    large, little = (lambda group=group: products(group) for group in PRODUCTS)
    return [large, attention, layer, memory, little]


def main():
    try:
        parts = {"torch": with_torch, "jax": with_jax}[options.library]()
    except ImportError as error:
        report["why"] = str(error)
        save()
        print(f"{options.library} is not here: {error}")
        return
    for part in parts:
        try:
            part()
        except Exception as error:
            print(f"{type(error).__name__}: {error}", flush=True)


main()
