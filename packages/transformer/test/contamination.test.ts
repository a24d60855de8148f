/** What is hidden may hold anything: NaN and infinities there reach no result and no gradient of what is visible. */
import "@te/kernels-cpu";
import { type DType, jit, type Tensor, tensor, vjp, where } from "@te/tensor";
import { errorN, findBitDifference, limitOf, normals, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { attentionOp } from "../src/ops/attention.js";
import type { AttentionOperands, AttentionParams } from "../src/ops/attention-problem.js";

const [BATCH, LENGTH, HEADS, DEPTH] = [2, 70, 2, 12];
const int = (row: number[]): Tensor => tensor([row, row], { dtype: "int32" });
const positions = Array.from({ length: LENGTH }, (_, i) => i);
const halves = int(positions.map((i) => (i < 40 ? 1 : 2)));
const padded = int(positions.map((i) => (i < 50 ? 1 : 0)));
const lastKeys = tensor(
  Uint8Array.from(positions, (j) => (j >= 50 ? 1 : 0)),
  { shape: [1, 1, 1, LENGTH], dtype: "uint8" },
);

type Rule = [
  name: string,
  operands: Partial<AttentionOperands<Tensor>>,
  params: Partial<AttentionParams>,
  spoiledKeys: (position: number) => boolean,
  cleanQueries: (position: number) => boolean,
];

/** Keys and values that are spoiled, and the queries that see none of them. */
export const rules: Rule[] = [
  ["a padding mask", { mask: lastKeys }, {}, (j) => j >= 50, () => true],
  [
    "a padding mask and dropout",
    { mask: lastKeys, key: tensor([1, 2], { dtype: "uint32" }) },
    { dropout: 0.3 },
    (j) => j >= 50,
    () => true,
  ],
  ["a causal mask", {}, { causal: true }, (j) => j === 45, (i) => i < 45],
  ["a window", {}, { windowLeft: 3, windowRight: 2 }, (j) => j === 30, (i) => i < 28 || i > 33],
  ["another segment", { segmentsQ: halves, segmentsKv: halves }, {}, (j) => j >= 40, (i) => i < 40],
  ["segment 0", { segmentsQ: padded, segmentsKv: padded }, { causal: true }, (j) => j >= 50, () => true],
  [
    "an off-by-one softmax",
    { mask: lastKeys },
    { softmaxType: "off_by_one", causal: true },
    (j) => j >= 50,
    () => true,
  ],
];

/** x with garbage in the rows of these positions: NaN and both infinities. */
function spoil(x: Tensor, spoiled: (position: number) => boolean): Tensor {
  const flags = tensor(
    Uint8Array.from(positions, (i) => (spoiled(i) ? 1 : 0)),
    { dtype: "bool" },
  );
  const garbage = tensor(
    Float32Array.from(
      { length: DEPTH },
      (_, c) => [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 7][c % 4]!,
    ),
  );
  return where(flags.reshape([1, LENGTH, 1, 1]).broadcastTo(x.shape), garbage.astype(x.dtype), x);
}

const run = (operands: Partial<AttentionOperands<Tensor>>, params: Partial<AttentionParams>) =>
  jit((q: Tensor, k: Tensor, v: Tensor, dout: Tensor): Tensor[] => {
    const [out, pull] = vjp(
      (q: Tensor, k: Tensor, v: Tensor) => attentionOp({ q, k, v, ...operands }, { scale: 0.3, ...params }).out,
      q,
      k,
      v,
    );
    return [out, ...(pull(dout) as Tensor[])];
  });

/** Rows of the positions that pass, one after the other. */
function rowsOf(t: Tensor, keep: (position: number) => boolean): number[] {
  const values = Array.from(t.astype("float32").dataSync(), Number);
  return values.filter((_, at) => keep(Math.floor(at / DEPTH / HEADS) % LENGTH));
}

const operands = (dtype: DType): [Tensor, Tensor, Tensor, Tensor] =>
  ["q", "k", "v", "dout"].map((seed) => normals([BATCH, LENGTH, HEADS, DEPTH], { seed, dtype })) as never;

onEachDevice((device) => {
  /**
   * The same bits, but on the tensor cores of a GPU: where these met garbage, the rows are computed again without them, in
   * another order.
   */
  const expectSame = (spoiled: Tensor, clean: Tensor, keep: (position: number) => boolean, at: number): void => {
    const [got, want] = [rowsOf(spoiled, keep), rowsOf(clean, keep)];
    if (device !== "cuda" || clean.dtype === "float32") expect(got, `${at}`).toEqual(want);
    else expect(errorN(got, want), `${at}`).toBeLessThan(limitOf("attention", clean.dtype).n);
  };

  describe.each(rules)("%s", (_, extra, params, spoiledKeys, cleanQueries) => {
    test.each(["float32", "bfloat16", "float16"] as const)("keys and values of %s", (dtype) => {
      const [q, k, v, dout] = operands(dtype);
      const f = run(extra, params);
      const clean = f(q, k, v, dout);
      const spoiled = f(q, spoil(k, spoiledKeys), spoil(v, spoiledKeys), dout);
      for (const at of [0, 1]) expectSame(spoiled[at]!, clean[at]!, cleanQueries, at);
      const seen = positions.some((i) => !cleanQueries(i));
      // Queries that see garbage get garbage, and so do the keys that these queries see.
      if (seen) expect(rowsOf(spoiled[0]!, (i) => !cleanQueries(i)).some(Number.isNaN)).toBe(true);
      else for (const at of [2, 3]) expectSame(spoiled[at]!, clean[at]!, () => true, at);
    });
  });

  test("queries of another segment, and what comes back to them", () => {
    const [q, k, v, dout] = operands("float32");
    const f = run({ segmentsQ: halves, segmentsKv: halves }, {});
    const second = (i: number): boolean => i >= 40;
    const first = (i: number): boolean => i < 40;
    const clean = f(q, k, v, dout);
    for (const spoiled of [f(spoil(q, second), k, v, dout), f(q, k, v, spoil(dout, second))]) {
      spoiled.forEach((t, at) => expect(rowsOf(t, first), `${at}`).toEqual(rowsOf(clean[at]!, first)));
      expect(rowsOf(spoiled[3]!, second).some(Number.isNaN)).toBe(true);
    }
  });

  test("queries that see nothing", () => {
    const [q, k, v, dout] = operands("float32");
    const f = run({ segmentsQ: padded, segmentsKv: padded }, {});
    const padding = (i: number): boolean => i >= 50;
    const clean = f(q, k, v, dout);
    const spoiled = f(spoil(q, padding), k, v, spoil(dout, padding));
    spoiled.forEach((t, at) => {
      expect(findBitDifference(t, clean[at]!), `${at}`).toBeUndefined();
      expect(new Set(rowsOf(t, padding).map(Math.abs)), `${at}`).toEqual(new Set([0]));
    });
  });

  describe("what a query sees reaches it, however small its weight, unless its logit is -inf or dropout drops it", () => {
    const GARBAGE = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 7];
    const [seen, hidden] = [20, 21];
    // Weights of e^-95 and e^-200 have no float32 of full or of any digits; those of the first keys vanish when more come.
    const bias = tensor(
      Float32Array.from(positions, (j) => (j === hidden ? -Infinity : j === seen ? -95 : j < 30 ? -200 : 0)),
      { shape: [1, 1, 1, LENGTH] },
    );
    const rows = bias.broadcastTo([1, 1, LENGTH, LENGTH]);
    const all = (j: number): boolean => j === seen || j === hidden;

    test.each([0, 0.4])("dropout %f", (dropout) => {
      const [q, k, v, dout] = operands("float32").map((t) => t.mul(0.1)) as ReturnType<typeof operands>;
      const key = dropout ? tensor([1, 2], { dtype: "uint32" }) : undefined;
      const f = run({ bias: rows, key }, { biasType: "post_scale", dropout });
      const clean = f(q, k, v, dout);
      expect(
        f(
          q,
          k,
          spoil(v, (j) => j === hidden),
          dout,
        ).map((t, i) => findBitDifference(t, clean[i]!)),
      ).toEqual(Array(4).fill(undefined));
      const [out, dq] = f(
        q,
        spoil(k, (j) => j === hidden),
        spoil(v, all),
        dout,
      );
      const reached = rowsOf(out!, () => true).map((x, at) => Object.is(x, GARBAGE[(at % DEPTH) % 4]));
      const finite = rowsOf(out!, () => true).filter((x) => Number.isFinite(x)).length;
      const garbage = reached.filter((same, at) => at % 4 !== 3 && same).length;
      // What is not garbage is a finite number.
      expect(garbage + finite).toBe(reached.length);
      const share = garbage / ((3 / 4) * reached.length);
      if (dropout) expect(Math.abs(share - (1 - dropout))).toBeLessThan(0.15);
      else expect(share).toBe(1);
      // Rows that garbage reached have no gradient that is a number, all others have.
      const ofRow = (t: Tensor, row: number): number[] => rowsOf(t, () => true).slice(row * DEPTH, (row + 1) * DEPTH);
      for (let row = 0; row < BATCH * LENGTH * HEADS; row++) {
        const clean = ofRow(out!, row).every(Number.isFinite);
        expect(ofRow(dq!, row).every(Number.isFinite), `${row}`).toBe(clean);
      }
    });

    test("so do cotangents", () => {
      const [q, k, v, dout] = operands("float32").map((t) => t.mul(0.1)) as ReturnType<typeof operands>;
      const [, , , dv] = run({ bias: rows }, { biasType: "post_scale" })(
        q,
        k,
        v,
        spoil(dout, (i) => i === 3),
      );
      const at = (j: number): number[] => rowsOf(dv!, (position) => position === j);
      expect(at(seen)).toEqual(at(seen).map((x, c) => (c % 4 === 3 ? x : GARBAGE[c % 4])));
      expect(at(60)).toEqual(at(60).map((x, c) => (c % 4 === 3 ? x : GARBAGE[c % 4])));
      expect(new Set(at(hidden).map(Math.abs))).toEqual(new Set([0]));
    });
  });
});
