/** Attention on the GPU where tiles, splits of the keys and what is not finite come in, which the cases of the op are too small for. */
import "./emulated.js";
import "@te/kernels-cpu";
import "@te/kernels-cuda";
import { type DType, setDevice, type Tensor, tensor } from "@te/tensor";
import { errorN, generator, seedOf } from "@te/testkit";
import { attentionBackwardOp, attentionOp } from "@te/transformer";
import { afterAll, describe, expect, test } from "vitest";
import { integers } from "./against-reference.js";

afterAll(() => setDevice("auto"));

type Params = NonNullable<Parameters<typeof attentionOp>[1]>;

interface Call {
  readonly queries: number;
  readonly keys: number;
  readonly heads?: number;
  readonly groups?: number;
  readonly depth?: number;
  readonly valueDepth?: number;
  readonly params?: Partial<Params>;
  readonly more?: (call: Call) => Record<string, Tensor>;
  /** Element of k and v that is NaN or infinite. */
  readonly odd?: readonly [key: number, value: number];
}

/** Numbers about 0 that bfloat16 and float16 hold. */
function floats(name: string, shape: readonly number[], dtype: DType, odd?: Call["odd"]): Tensor {
  const next = generator(seedOf(name));
  const size = shape.reduce((product, d) => product * d, 1);
  const values = Float64Array.from({ length: size }, () => Math.round((next() + next() + next() - 1.5) * 64) / 32);
  if (odd) values[odd[0] * (size / shape[1]!)] = odd[1];
  return tensor(values, { shape, dtype });
}

const NAMES = ["out", "max", "sum", "dq", "dk", "dv"] as const;
type Results = Record<(typeof NAMES)[number], Float64Array>;

async function run(device: string, call: Call, dtype: DType): Promise<Results> {
  setDevice(device);
  const { queries, keys, heads = 2, groups = heads, depth = 64, valueDepth = depth, odd } = call;
  const params = { scale: 1 / Math.sqrt(depth), ...call.params };
  const operands = {
    q: floats("q", [1, queries, heads, depth], dtype),
    // A key of infinity is hidden from the queries whose product with it is -infinity.
    k: floats("k", [1, keys, groups, depth], dtype, Number.isNaN(odd?.[1]) ? odd : undefined),
    v: floats("v", [1, keys, groups, valueDepth], dtype, odd),
    ...call.more?.(call),
  };
  const forward = attentionOp(operands, params);
  const dout = floats("dout", [1, queries, heads, valueDepth], dtype);
  const results = { ...forward, ...attentionBackwardOp({ ...operands, ...forward, dout }, params) };
  const arrays = await Promise.all(
    NAMES.map(async (name) => Float64Array.from((await results[name].astype("float32").data()) as Float32Array)),
  );
  return Object.fromEntries(NAMES.map((name, i) => [name, arrays[i]!])) as Results;
}

const LIMIT = { float32: 4e-6, bfloat16: 1.2e-2, float16: 2e-3 };

async function expectClose(call: Call, dtype: keyof typeof LIMIT): Promise<void> {
  const actual = await run("cuda", call, dtype);
  const expected = await run("cpu", call, "float32");
  for (const name of NAMES) {
    const special = (x: number): number => (Number.isFinite(x) ? 0 : x);
    expect(actual[name].map(special), name).toEqual(expected[name].map(special));
    expect(errorN(actual[name], expected[name]), name).toBeLessThan(LIMIT[dtype]);
  }
}

const hidden = ({ queries, keys }: Call): Tensor => integers([1, 1, queries, keys], 2).ne(0);
/** Runs of 50, the last of which is padding. */
const segments = (length: number): Tensor =>
  tensor(
    Int32Array.from({ length }, (_, i) => (i < length - 20 ? 1 + Math.floor(i / 50) : 0)),
    { shape: [1, length] },
  );
const bias = ({ heads = 2, queries, keys }: Call): Tensor => floats("bias", [1, heads, queries, keys], "float32");
const key = (): Tensor => tensor([7, 11], { shape: [2], dtype: "uint32" });

const CALLS: Record<string, Call> = {
  "1 query": { queries: 1, keys: 513 },
  causal: { queries: 140, keys: 140, groups: 1, depth: 96, params: { causal: true } },
  "window, bottom right": {
    queries: 150,
    keys: 290,
    depth: 40,
    params: { causal: true, windowLeft: 30, bottomRight: true },
  },
  segments: {
    queries: 180,
    keys: 200,
    depth: 128,
    heads: 1,
    more: ({ queries, keys }) => ({ segmentsQ: segments(queries), segmentsKv: segments(keys) }),
  },
  "mask, bias and dropout": {
    queries: 130,
    keys: 140,
    valueDepth: 24,
    params: { dropout: 0.2, biasType: "post_scale" },
    more: (call) => ({ mask: hidden(call), bias: bias(call), key: key() }),
  },
  "wide heads": { queries: 70, keys: 130, heads: 1, depth: 200, valueDepth: 136, params: { causal: true } },
  "odd depths": { queries: 70, keys: 70, heads: 1, depth: 67, valueDepth: 13, params: { scale: -0.1 } },
  "decoding, grouped": {
    queries: 2,
    keys: 600,
    heads: 8,
    groups: 2,
    params: { causal: true, bottomRight: true },
  },
};

describe("against the CPU", () => {
  for (const [name, call] of Object.entries(CALLS))
    for (const dtype of ["bfloat16", "float16"] as const)
      test(`${name}, ${dtype}`, async () => await expectClose(call, dtype), 120_000);
  test("a window in float32", async () => await expectClose(CALLS["window, bottom right"]!, "float32"), 120_000);
});

describe("what is not finite", () => {
  const causal = { causal: true };
  test.each<[string, number]>([
    ["NaN", Number.NaN],
    ["infinity", Number.POSITIVE_INFINITY],
  ])(
    "%s reaches those alone who see it",
    async (_, value) => {
      const call: Call = { queries: 140, keys: 140, heads: 1, depth: 80, params: causal, odd: [100, value] };
      const { out, max } = await run("cuda", call, "bfloat16");
      const rows = Array.from({ length: 140 }, (_, i) => out.subarray(i * 80, (i + 1) * 80).every(Number.isFinite));
      expect(rows).toEqual(Array.from({ length: 140 }, (_, i) => i < 100));
      expect(Number.isFinite(max[99])).toBe(true);
    },
    120_000,
  );
  test("hidden, it changes nothing", async () => {
    const call: Call = { queries: 90, keys: 140, heads: 1, depth: 80, params: causal };
    const clean = await run("cuda", call, "bfloat16");
    const odd = await run("cuda", { ...call, odd: [120, Number.NaN] }, "bfloat16");
    for (const name of NAMES) expect(errorN(odd[name], clean[name]), name).toBeLessThan(LIMIT.bfloat16);
  }, 120_000);
});

test("every run gives the same bits", async () => {
  for (const name of ["mask, bias and dropout", "decoding, grouped"]) {
    const call = CALLS[name]!;
    expect(await run("cuda", call, "bfloat16")).toEqual(await run("cuda", call, "bfloat16"));
  }
}, 120_000);
