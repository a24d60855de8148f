/** The ops `cast` and `bitcast`: values, or their bits, in another dtype. */
import { aval, sameAval } from "../aval.js";
import { defineOp } from "../define-op.js";
import { allocate, bytesOf, checkDType, type DType, finfo, isFloat, viewAs } from "../dtype.js";
import { fail } from "../errors.js";
import { fromFloat64, toFloat64 } from "../float-codes.js";
import type { HostArray } from "../op.js";
import { withDefaults } from "../options.js";
import { loadFloat64, storeFloat64 } from "../reference/host.js";
import { elementwiseRule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { expectTensor } from "./check.js";

const ALL_FLOATS = ["float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"] as const;

/**
 * y = x in another dtype. Floats round to nearest even; overflow gives infinity, or NaN in float8_e4m3fn, unless
 * `saturate` clips to the largest finite value first. Floats to integers truncate toward zero and saturate, NaN gives 0;
 * integers to integers wrap around. Everything but 0 becomes true.
 */
export const castOp = defineOp("cast", {
  inputs: ["x"],
  outputs: ["y"],
  changesNothing: sameAval,
  params: { dtype: "float32" as DType, saturate: false },
  elementwise: ({ saturate }) => (saturate ? "cast_saturate" : "cast"),
  sharding: elementwiseRule,
  shape: ({ x }, { dtype, saturate }) => {
    checkDType("astype", dtype);
    if (saturate) checkSaturates(dtype);
    return { y: aval(x.shape, dtype) };
  },
  evaluate: ({ x }, { saturate }, { y }) => evaluateCast(x, y, saturate),
  vjp: ({ inputs: { x }, grads }) => (isFloat(x.dtype) ? { x: cast(grads.y, x.dtype) } : {}),
  cases: (c) => [
    ...c.product(
      { from: ALL_FLOATS, to: ALL_FLOATS },
      ({ from }) => ({ x: c.normal([3, 33], { dtype: from, std: 4 }) }),
      ({ to }) => ({ dtype: to }),
      { gradient: false },
    ),
    ...c.product(
      { from: ALL_FLOATS, to: ["int32", "uint32", "uint8", "bool"] as const },
      ({ from }) => ({ x: c.normal([31], { dtype: from, std: 90 }) }),
      ({ to }) => ({ dtype: to }),
    ),
    ...c.product(
      {
        from: ["int32", "uint32", "uint8"] as const,
        to: ["int32", "uint32", "uint8", "bool", "float32", "bfloat16"] as const,
      },
      ({ from }) => ({ x: c.integers([32], { dtype: from, low: from === "int32" ? -300 : 0, high: 200 }) }),
      ({ to }) => ({ dtype: to }),
    ),
    c.case("bool to float32", { x: c.bools([33]) }, { dtype: "float32" }),
    ...c.product(
      { to: ["float8_e4m3fn", "float8_e5m2"] as const, saturate: [false, true] },
      () => ({ x: c.normal([64], { std: 4e4 }) }),
      ({ to, saturate }) => ({ dtype: to, saturate }),
      { gradient: false },
    ),
    c.case("gradient float32 to bfloat16", { x: c.normal([5, 7]) }, { dtype: "bfloat16" }),
    c.case("empty", { x: c.normal([0, 4]) }, { dtype: "bfloat16" }),
    c.bench("float32 to bfloat16", { x: c.normal([2 ** 24]) }, { dtype: "bfloat16" }, { bytes: 6 * 2 ** 24 }),
  ],
});

function checkSaturates(dtype: DType): void {
  if (!isFloat(dtype))
    fail("option", "astype", "saturate applies to float types", dtype, "Floats always saturate in integers.");
}

function evaluateCast(x: HostArray, y: HostArray, saturate: boolean): void {
  const from = loadFloat64(x);
  const n = from.length;
  const to = y.data;
  if (y.dtype === "bool") {
    for (let i = 0; i < n; i++) to[i] = from[i] !== 0 ? 1 : 0;
  } else if (!isFloat(x.dtype) && !isFloat(y.dtype)) {
    for (let i = 0; i < n; i++) to[i] = from[i]!;
  } else if (saturate) {
    const { max } = finfo(y.dtype);
    storeFloat64(
      Float64Array.from(from, (v) => Math.min(Math.max(v, -max), max)),
      y,
    );
  } else {
    storeFloat64(from, y);
  }
}

/** y = the bits of x read as another dtype of the same width. */
export const bitcastOp = defineOp("bitcast", {
  inputs: ["x"],
  outputs: ["y"],
  changesNothing: sameAval,
  params: { dtype: "uint32" as DType },
  elementwise: true,
  sharding: elementwiseRule,
  shape: ({ x }, { dtype }) => {
    checkDType("bitcast", dtype);
    if (bytesOf(dtype) !== bytesOf(x.dtype) || (dtype === "bool") !== (x.dtype === "bool")) {
      fail(
        "dtype",
        "bitcast",
        `dtype must have the width of x, ${bytesOf(x.dtype)} bytes, and bool has no other reading`,
        dtype,
        "Use astype to convert values.",
      );
    }
    return { y: aval(x.shape, dtype) };
  },
  evaluate({ x }, _, { y }) {
    // The wide evaluator has no bits: it rounds to the dtype first.
    const rounded = x.data instanceof Float64Array && x.dtype !== "float64";
    const codes = rounded ? fromFloat64(x.dtype, x.data, allocate(x.dtype, x.data.length)) : x.data;
    const seen = viewAs(y.dtype, new Uint8Array(codes.buffer as ArrayBuffer, codes.byteOffset, codes.byteLength));
    y.data.set(y.data.constructor === seen.constructor ? seen : toFloat64(y.dtype, seen));
  },
  cases: (c) => [
    c.case("float32 to uint32", { x: c.normal([33]) }, { dtype: "uint32" }),
    c.case("int32 to float32", { x: c.integers([31], { low: 1 << 28, high: 1 << 29 }) }, { dtype: "float32" }),
    c.case(
      "uint8 to float8_e4m3fn",
      { x: c.integers([64], { dtype: "uint8", high: 120 }) },
      { dtype: "float8_e4m3fn" },
    ),
    c.case(
      "bfloat16 to float16",
      { x: c.uniform([32], { dtype: "bfloat16", low: 1, high: 2 }) },
      { dtype: "float16" },
      { gradient: false },
    ),
  ],
});

/** x in another dtype; x itself when it has that dtype already. See `castOp` of @te/tensor/op for rounding and overflow. */
export function cast(x: Tensor, dtype: DType, options?: { readonly saturate?: boolean }): Tensor {
  expectTensor("astype", { x });
  checkDType("astype", dtype);
  const saturate = options !== undefined && withDefaults("astype", options, { saturate: false }).saturate;
  if (saturate) checkSaturates(dtype);
  return x.dtype === dtype ? x : castOp({ x }, { dtype, saturate }).y;
}

/** The bits of x read as another dtype of the same width. */
export function bitcast(x: Tensor, dtype: DType): Tensor {
  expectTensor("bitcast", { x });
  return x.dtype === dtype ? x : bitcastOp({ x }, { dtype }).y;
}
