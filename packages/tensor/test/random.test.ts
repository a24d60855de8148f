/** Random numbers: the bits of jax.random, keys that split, and arguments that are refused. */
import "@te/kernels-cpu";
import { createHash } from "node:crypto";
import { type DType, random, type Tensor, type TypedArray, tensor, zeros } from "@te/tensor";
import { toFloat64 } from "@te/tensor/op";
import { type GoldenCase, onEachDevice, readGolden } from "@te/testkit";
import { describe, expect, test } from "vitest";

const golden = readGolden("jax_random");

interface Result {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** First 16 digits of the SHA-256 of the bytes. */
  readonly sha256: string;
}

const DTYPE: Record<string, DType> = { f32: "float32", bf16: "bfloat16", f16: "float16" };

/** Recorded name → the call that must give the same. */
const CALLS: readonly [
  RegExp,
  (key: Tensor, shape: readonly number[], match: RegExpMatchArray, of: GoldenCase) => Tensor,
][] = [
  [/^key_data$/, (key) => key],
  [/^split(\d)$/, (key, _, m) => random.splitTensor(key, Number(m[1]))],
  [/^fold_in_(\d+)$/, (key, _, m) => random.foldIn(key, Number(m[1]))],
  [/^bits_u(\d+)_/, (key, shape, m) => random.bits(key, shape, { width: Number(m[1]) as 32 | 16 | 8 })],
  [/^uniform_m2_3_(\w+?)_/, (key, shape, m) => random.uniform(key, shape, { dtype: DTYPE[m[1]!], low: -2, high: 3 })],
  [/^uniform_(\w+?)_/, (key, shape, m) => random.uniform(key, shape, { dtype: DTYPE[m[1]!] })],
  [/^normal_(\w+?)_/, (key, shape, m) => random.normal(key, shape, { dtype: DTYPE[m[1]!] })],
  [
    /^truncated_normal_m2_2_(\w+?)_/,
    (key, shape, m) => random.truncatedNormal(key, -2, 2, shape, { dtype: DTYPE[m[1]!] }),
  ],
  [/^bernoulli_([\d.]+)_/, (key, shape, m) => random.bernoulli(key, Number(m[1]), shape)],
  [/^randint_0_10_/, (key, shape) => random.randint(key, shape, 0, 10)],
  [/^randint_m5_1000003_/, (key, shape) => random.randint(key, shape, -5, 1000003)],
  [/^gumbel_(\w+?)_/, (key, shape, m) => random.gumbel(key, shape, { dtype: DTYPE[m[1]!] })],
  [/^exponential_(\w+?)_/, (key, shape, m) => random.exponential(key, shape, { dtype: DTYPE[m[1]!] })],
  [/^permutation_(\d+)$/, (key, _, m) => random.permutation(key, Number(m[1]))],
  [/^categorical_4x7$/, (key, _s, _m, of) => random.categorical(key, golden.tensor(of, "in/logits"))],
  [
    /^categorical_shape_50x4$/,
    (key, shape, _, of) => random.categorical(key, golden.tensor(of, "in/logits"), { shape }),
  ],
  [/^choice_20_of_10$/, (key, shape) => random.choice(key, 10, shape)],
  [/^choice_noreplace_6_of_10$/, (key, shape) => random.choice(key, 10, shape, { replace: false })],
];

function draw(of: GoldenCase, name: string, shape: readonly number[]): Tensor {
  for (const [pattern, call] of CALLS) {
    const match = name.match(pattern);
    if (match) return call(random.key(of.seed as number), shape, match, of);
  }
  throw new Error(`no call for ${name}`);
}

function digest(data: TypedArray, dtype: string): string {
  const stored = dtype === "uint16" ? Uint16Array.from(data) : data;
  const bytes = new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
  return createHash("sha256").update(bytes).digest("hex").slice(0, 16);
}

onEachDevice(() => {
  describe.each(golden.cases)("the bits of jax.random, seed $seed", (of) => {
    for (const [name, result] of Object.entries(of.results as Record<string, Result>)) {
      test(name, async () => {
        const drawn = draw(of, name, result.shape);
        expect(drawn.shape).toEqual(result.shape);
        if (!/^(gumbel|exponential)/.test(name)) {
          expect(digest(await drawn.data(), result.dtype)).toBe(result.sha256);
          return;
        }
        // Logarithms differ from XLA's in the last place, and -log(-log(u)) loses digits where it is near 0.
        expect(drawn).toBeAllclose(golden.tensor(of, name), { rtol: 2 ** -22, atol: 2 ** -22 });
      });
    }
  });
});

onEachDevice(() => {
  // Long enough for the rare roundings of XLA's logarithm to show.
  test.each([
    ["float32", "f73023bf53f6d779", 24_000],
    ["bfloat16", "8f55a428d28a57ba", 100_000],
  ] as const)("a long draw of truncated normals has JAX's bits, %s", async (dtype, sha256, count) => {
    const drawn = random.truncatedNormal(random.key(0), -2, 2, [count], { dtype });
    expect(digest(await drawn.data(), "")).toBe(sha256);
  });
});

describe("keys", () => {
  test("of a seed beyond 32 bits and below 0", async () => {
    expect(await random.key(2 ** 32 + 5).toArray()).toEqual([1, 5]);
    expect(await random.key(-1).toArray()).toEqual([0, 4294967295]);
  });
  test("of a tensor equal those of the number", async () => {
    expect(await random.key(tensor(Int32Array.of(42)).reshape([])).toArray()).toEqual(await random.key(42).toArray());
  });
  test("split gives the rows of splitTensor", async () => {
    const keys = random.split(random.key(3), 4);
    const rows = await random.splitTensor(random.key(3), 4).toArray();
    expect(await Promise.all(keys.map((k) => k.toArray()))).toEqual(rows);
  });
  test("a part of a draw does not depend on the shape", async () => {
    const long = await random.bits(random.key(9), [100]).toArray();
    expect(await random.bits(random.key(9), [5, 7]).flatten().toArray()).toEqual((long as number[]).slice(0, 35));
  });
});

describe("arguments", () => {
  const key = random.key(0);
  test("a key must be uint32[2]", () => {
    expect(() => random.bits(tensor([0, 1]), [3])).toThrow(
      /random.bits: the key must be uint32\[2\], got float32\[2\]/,
    );
    expect(() => random.uniform(random.splitTensor(key, 2), [3])).toThrow(/got uint32\[2,2\]/);
  });
  test("float types that have no rule are refused", () => {
    expect(() => random.normal(key, [2], { dtype: "int32" })).toThrow(/float32, bfloat16 or float16, got int32/);
    expect(() => random.uniform(key, [2], { dtype: "float8_e4m3fn" })).toThrow(/Draw float32 and cast/);
  });
  test("ranges must not be empty", () => {
    expect(() => random.randint(key, [2], 3, 3)).toThrow(/low < high/);
    expect(() => random.truncatedNormal(key, 1, 1)).toThrow(/low must be less than high/);
    expect(() => random.choice(key, 3, [4], { replace: false })).toThrow(/at least 4 elements/);
  });
});

test("truncatedNormal stays inside the open interval", async () => {
  const x = toFloat64("float32", await random.truncatedNormal(random.key(1), -0.5, 0.25, [4096]).data());
  expect(Math.min(...x)).toBeGreaterThan(-0.5);
  expect(Math.max(...x)).toBeLessThan(0.25);
});

test("permutation of a tensor moves its rows", async () => {
  const rows = tensor([
    [0, 10],
    [1, 11],
    [2, 12],
    [3, 13],
  ]);
  const order = (await random.permutation(random.key(5), 4).toArray()) as number[];
  expect(await random.permutation(random.key(5), rows).toArray()).toEqual(order.map((i) => [i, 10 + i]));
});

onEachDevice(() => {
  describe.each(["bfloat16", "float16"] as const)("samplers of %s", (dtype) => {
    const key = random.key(7);

    test("categorical draws what it draws from the same logits in float32", async () => {
      const logits = random.normal(random.key(3), [4, 300]).astype(dtype);
      const [narrow, wide] = [logits, logits.astype("float32")].map((l) =>
        random.categorical(key, l, { shape: [64, 4] }),
      );
      expect(await narrow!.data()).toEqual(await wide!.data());
    });

    test("equal logits share alike, and a rare class has its share", async () => {
      const ids = await random.categorical(key, zeros([1000], { dtype }), { shape: [400] }).values();
      const mean = ids.reduce((a, b) => a + b) / ids.length;
      expect(Math.abs(mean - 500)).toBeLessThan(60); // four standard errors
      const rare = tensor([0, Math.log(1e-3)]).astype(dtype);
      const drawn = await random.categorical(key, rare, { shape: [100_000] }).values();
      const share = drawn.reduce((a, b) => a + b) / drawn.length;
      expect(Math.abs(share - 1e-3)).toBeLessThan(4e-4);
    });

    test("bernoulli compares a rare probability in float32", async () => {
      const p = tensor([1e-3]).astype(dtype).broadcastTo([100_000]);
      const drawn = await random.bernoulli(key, p).values();
      const share = drawn.reduce((a, b) => a + b) / drawn.length;
      expect(Math.abs(share - 1e-3)).toBeLessThan(4e-4);
    });

    test.each(["gumbel", "exponential"] as const)("%s is the float32 draw, rounded", async (name) => {
      const narrow = random[name](key, [1000], { dtype });
      expect(narrow.dtype).toBe(dtype);
      expect(await narrow.data()).toEqual(await random[name](key, [1000]).astype(dtype).data());
    });
  });
});

test("categorical refuses what is no tensor, and an axis or shape that logits do not have", () => {
  const key = random.key(0);
  expect(() => random.categorical(key, [1, 2] as never)).toThrow(/random.categorical: logits must be a tensor/);
  expect(() => random.categorical(key, zeros([3]), { axis: 1 })).toThrow(/axis must be an integer in \[-1, 1\)/);
  expect(() => random.categorical(key, zeros([]))).toThrow(/random.categorical: axis must be an integer/);
  expect(() => random.categorical(key, zeros([2, 0]))).toThrow(/categorical: logits must have at least one class, got/);
  expect(() => random.bernoulli(key, "½" as never)).toThrow(/bernoulli: p must be a number or a tensor, got ½/);
  expect(() => random.categorical(key, zeros([2, 3]), { shape: [4] })).toThrow(/must end with the batch axes.*\[2\]/);
});
