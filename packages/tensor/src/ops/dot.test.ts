/** Products: matmul, dot and einsum, their axes, their rounding, and what they refuse. */
import { describe, expect, test } from "vitest";
import { arange, dot, einsum, matmul, random, type Tensor, tensor } from "../index.js";

const x = (...shape: number[]): Tensor => random.normal(random.key(shape.length), shape);
const values = async (t: Tensor): Promise<number[]> => [...(await t.values())];

describe("matmul", () => {
  test("counts a vector as a row on the left and a column on the right", () => {
    expect(matmul(x(3), x(3)).shape).toEqual([]);
    expect(matmul(x(2, 3), x(3)).shape).toEqual([2]);
    expect(matmul(x(3), x(5, 3, 4)).shape).toEqual([5, 4]);
  });
  test("broadcasts leading axes", async () => {
    const a = x(2, 1, 3, 4);
    const b = x(5, 4, 6);
    const y = matmul(a, b);
    expect(y.shape).toEqual([2, 5, 3, 6]);
    const one = await values(matmul(a.at(1, 0), b.at(3)));
    expect(await values(y.at(1, 3))).toEqual(one);
  });
  test("names lengths that do not match", () => {
    expect(() => matmul(x(2, 3), x(4, 5))).toThrow(
      /dot: contract axes must have equal lengths: \[3\] of a, float32\[2,3\], against \[4\] of b/,
    );
    expect(() => matmul(x(2, 2, 3), x(3, 3, 4))).toThrow(/matmul: shapes \[2\] and \[3\] do not broadcast/);
  });
});

describe("dot", () => {
  test("accumulates narrow floats in float32 and rounds once", async () => {
    const a = tensor(new Float32Array(4096).fill(1)).astype("bfloat16");
    expect(await dot(a, a).item()).toBe(4096);
    expect(dot(a, a, { dtype: "float32" }).dtype).toBe("float32");
  });
  test("adds a bias along the trailing axes before rounding", async () => {
    const a = tensor([[256]]).astype("bfloat16");
    const w = tensor([[1, 1]]).astype("bfloat16");
    const bias = tensor([0.5, 1.5]).astype("bfloat16");
    expect(await dot(a, w, { bias }).toArray()).toEqual([[256, 258]]);
    expect(() => dot(a, w, { bias: tensor([1]) })).toThrow(/bias must have shape \[2\] \(the free axes of b/);
  });
  test("integers wrap around", async () => {
    const big = tensor(Int32Array.of(65536, 1));
    expect(await dot(big, big).item()).toBe(1);
  });
  test("refuses axes that repeat", () => {
    expect(() => dot(x(2, 3), x(3, 2), { lhsContract: [1, 1], rhsContract: [0, 0] })).toThrow(/must be distinct/);
  });
  test("takes axes from the end", () => {
    expect(dot(x(2, 3), x(5, 3), { lhsContract: [-1], rhsContract: [-1] }).shape).toEqual([2, 5]);
  });
});

describe("einsum", () => {
  const a = x(2, 3, 4);
  const b = x(2, 5, 4);
  test("equals dot", async () => {
    const want = dot(a, b, { lhsContract: [2], rhsContract: [2], lhsBatch: [0], rhsBatch: [0] });
    expect(await values(einsum("bqd,bkd->bqk", a, b))).toEqual(await values(want));
    expect(await values(einsum("bqd,bkd->kqb", a, b))).toEqual(await values(want.transpose([2, 1, 0])));
  });
  test("sums what the result leaves out, of one tensor too", async () => {
    const m = arange(6).reshape([2, 3]);
    expect(await einsum("ij->j", m).toArray()).toEqual([3, 5, 7]);
    expect(await einsum("ij->", m).item()).toBe(15);
    expect(await einsum("ij->ji", m).toArray()).toEqual([
      [0, 3],
      [1, 4],
      [2, 5],
    ]);
    expect(einsum("ij,jk", m, m.T).shape).toEqual([2, 2]);
  });
  test("leading axes by ... broadcast", async () => {
    const w = x(4, 6);
    expect(einsum("...d,df->...f", a, w).shape).toEqual([2, 3, 6]);
    expect(einsum("...ij,...jk->...ik", x(7, 1, 2, 3), x(5, 3, 4)).shape).toEqual([7, 5, 2, 4]);
  });
  test("three tensors", async () => {
    const [p, q, r] = [x(2, 3), x(3, 4), x(4, 5)];
    expect(einsum("ab,bc,cd->ad", p, q, r)).toBeDefined();
    const got = await values(einsum("ab,bc,cd->ad", p, q, r));
    const want = await values(matmul(matmul(p, q), r));
    for (const [i, v] of got.entries()) expect(v).toBeCloseTo(want[i]!, 5);
  });
  test("says what is wrong with an equation", () => {
    expect(() => einsum("ij,jk->ik", a, b)).toThrow(/einsum: the term of a tensor with 3 axes must name each/);
    expect(() => einsum("ii->i", x(2, 2))).toThrow(/diagonals are not supported/);
    expect(() => einsum("ij->k", x(2, 2))).toThrow(/the result names k/);
    expect(() => einsum("ij,jk->ik", x(2, 3), x(4, 5))).toThrow(/j in "ij,jk->ik" must have one length, got 3 and 4/);
    expect(() => einsum("ij->ij", a, b)).toThrow(/one term for each of 2 tensors/);
  });
});
