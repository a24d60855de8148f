# What PyTorch does on this machine's CPU with the models of `npm run bench -- gpt2` and `-- layer`, with random weights:
#   python peers.py [--out FILE] [--small]
# Prints one JSON object. Memory at peak is that of the process above what it held before the model, as Linux counts it.
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--out")
parser.add_argument("--small", action="store_true")
options = parser.parse_args()

BATCH, SEQUENCE = 4, 64
HIDDEN, HEADS, LAYERS, VOCABULARY, POSITIONS = (32, 2, 2, 96, 128) if options.small else (768, 12, 12, 50257, 1024)
LAYER = (2, 16, 32, 64, 2) if options.small else (8, 256, 512, 2048, 8)  # batch, sequence, hidden, MLP, heads
STEPS, TOKENS, WARM_UP = 8, 48, 2
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.n1, self.n2 = torch.nn.LayerNorm(HIDDEN), torch.nn.LayerNorm(HIDDEN)
        self.qkv, self.out = torch.nn.Linear(HIDDEN, 3 * HIDDEN), torch.nn.Linear(HIDDEN, HIDDEN)
        self.up, self.down = torch.nn.Linear(HIDDEN, 4 * HIDDEN), torch.nn.Linear(4 * HIDDEN, HIDDEN)

    def forward(self, x, cache=None, start=0):
        shape = x.shape[0], x.shape[1], 3, HEADS, HIDDEN // HEADS
        q, k, v = self.qkv(self.n1(x)).view(shape).permute(2, 0, 3, 1, 4)
        if cache is None:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            end = start + x.shape[1]
            cache[0][:, :, start:end], cache[1][:, :, start:end] = k, v
            mixed = F.scaled_dot_product_attention(q, cache[0][:, :, :end], cache[1][:, :, :end])
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.n2(x)), approximate="tanh"))


class Gpt2(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = torch.nn.Embedding(VOCABULARY, HIDDEN), torch.nn.Embedding(POSITIONS, HIDDEN)
        torch.nn.init.normal_(self.wte.weight, std=0.02)
        self.blocks = torch.nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = torch.nn.LayerNorm(HIDDEN)

    def forward(self, ids, caches=None, start=0):
        x = self.wte(ids) + self.wpe(torch.arange(start, start + ids.shape[1]))
        for i, block in enumerate(self.blocks):
            x = block(x, caches and caches[i], start)
        return F.linear(self.norm(x), self.wte.weight)


def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))


def reset_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def milliseconds(f, count):
    samples = []
    for i in range(WARM_UP + count):
        began = time.perf_counter()
        f()
        if i >= WARM_UP:
            samples.append((time.perf_counter() - began) * 1e3)
    return {"ms": statistics.median(samples), "least": min(samples)}


def train(dtype):
    before = status("VmRSS")
    reset_peak()
    network = Gpt2()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(0, VOCABULARY, (BATCH, SEQUENCE + 1))

    def step():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = network(ids[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    times = milliseconds(step, STEPS)
    return {**times, "tokensPerSecond": BATCH * SEQUENCE * 1e3 / times["ms"], "peakBytes": status("VmHWM") - before}


@torch.inference_mode()
def decode(dtype):
    network = Gpt2().to(DTYPES[dtype])
    shape = (1, HEADS, WARM_UP + TOKENS, HIDDEN // HEADS)
    caches = [[torch.zeros(shape, dtype=DTYPES[dtype]) for _ in range(2)] for _ in range(LAYERS)]
    ids, start = torch.zeros((1, 1), dtype=torch.int64), 0

    def token():
        nonlocal ids, start
        ids, start = network(ids, caches, start).float().argmax(-1), start + 1

    return milliseconds(token, TOKENS)


def layer(dtype):
    batch, sequence, hidden, mlp, heads = LAYER
    of = lambda *shape: torch.randn(*shape, dtype=DTYPES[dtype])
    weight = lambda rows, columns: (of(rows, columns) / rows**0.5).requires_grad_()
    wqkv, wo, w1, w2 = weight(hidden, 3 * hidden), weight(hidden, hidden), weight(hidden, mlp), weight(mlp, hidden)
    norms = [torch.ones(hidden, dtype=DTYPES[dtype], requires_grad=True) for _ in range(2)]
    x, dy = of(batch, sequence, hidden).requires_grad_(), of(batch, sequence, hidden)

    def step():
        qkv = (F.layer_norm(x, (hidden,), norms[0]) @ wqkv).view(batch, sequence, 3, heads, hidden // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, sequence, hidden)
        y = x + mixed @ wo
        y = y + F.gelu(F.layer_norm(y, (hidden,), norms[1]) @ w1, approximate="tanh") @ w2
        torch.autograd.grad(y, (x, wqkv, wo, w1, w2, *norms), dy)

    return milliseconds(step, STEPS)


torch.manual_seed(0)
report = {"library": "torch", "version": torch.__version__, "threads": torch.get_num_threads()}
for name, run in {"train": train, "decode": decode, "layer": layer}.items():
    report[name] = [{"dtype": dtype, **run(dtype)} for dtype in DTYPES]
text = json.dumps(report, indent=1)
print(text)
if options.out:
    with open(options.out, "w") as file:
        file.write(text + "\n")
