/** Functions that put tensors together and take them apart. */
import { normalizeAxis } from "../aval.js";
import { iota, zeros } from "../create.js";
import { fail } from "../errors.js";
import { expectSize } from "../expect.js";
import type { Tensor } from "../tensor.js";
import { expectTensor, expectTensors } from "./check.js";
import { concat } from "./concat.js";
import { expandDims, reshape } from "./reshape.js";
import { slice } from "./slice.js";

/** Tensors of one shape side by side along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  expectTensors("stack", "tensors", tensors);
  const first = tensors[0] ?? fail("option", "stack", "at least one tensor is needed", "none");
  const at = normalizeAxis("stack", axis, first.rank + 1);
  return concat(
    tensors.map((t) => expandDims(t, at)),
    at,
  );
}

/** Each part is a tensor of its own. */
const MOST_PARTS = 2 ** 16;

/** Cuts an axis into equal parts, or before the given indices. */
export function split(x: Tensor, parts: number | readonly number[], axis = 0): Tensor[] {
  expectTensor("split", { x });
  const at = normalizeAxis("split", axis, x.rank);
  const length = x.shape[at]!;
  if (typeof parts !== "number" && !Array.isArray(parts))
    fail("option", "split", "parts must be a number of parts or an array of indices", parts ?? String(parts));
  if ((typeof parts === "number" ? parts : parts.length) > MOST_PARTS)
    fail("option", "split", `there may be at most ${MOST_PARTS} parts`, parts, "Reshape x and index it.");
  if (typeof parts === "number" && (!Number.isInteger(parts) || parts < 1 || length % parts !== 0)) {
    fail(
      "shape",
      "split",
      `parts must divide the ${length} elements of axis ${at}`,
      parts,
      "Pass the indices to cut at.",
    );
  }
  const cuts =
    typeof parts === "number" ? Array.from({ length: parts - 1 }, (_, i) => ((i + 1) * length) / parts) : parts;
  if (cuts.some((cut, i) => !Number.isInteger(cut) || cut < (cuts[i - 1] ?? 0) || cut > length))
    fail("index", "split", `parts must be ascending integers in [0, ${length}]`, parts);
  const edges = [0, ...cuts, length];
  return edges.slice(1).map((to, i) =>
    slice(
      x,
      x.shape.map((_, k) => (k === at ? edges[i]! : 0)),
      x.shape.map((d, k) => (k === at ? to : d)),
    ),
  );
}

/** x repeated `count` times along an axis, each element beside its copies. */
export function repeat(x: Tensor, count: number, axis: number): Tensor {
  expectTensor("repeat", { x });
  expectSize("repeat", { count });
  const at = normalizeAxis("repeat", axis, x.rank);
  const wide = [...x.shape.slice(0, at + 1), count, ...x.shape.slice(at + 1)];
  return reshape(
    expandDims(x, at + 1).broadcastTo(wide),
    x.shape.map((d, i) => (i === at ? d * count : d)),
  );
}

/** The entries on and below diagonal k of the last two axes; the rest becomes 0. */
export function tril(x: Tensor, k = 0): Tensor {
  return triangle("tril", x, (row, column) => column.le(row.add(k)));
}

/** The entries on and above diagonal k of the last two axes; the rest becomes 0. */
export function triu(x: Tensor, k = 0): Tensor {
  return triangle("triu", x, (row, column) => column.ge(row.add(k)));
}

function triangle(fn: string, x: Tensor, keep: (row: Tensor, column: Tensor) => Tensor): Tensor {
  expectTensor(fn, { x });
  if (x.rank < 2) fail("shape", fn, "x must have at least two axes", x);
  const shape = x.shape.slice(-2);
  return keep(iota(shape, 0), iota(shape, 1)).where(x, zeros([], { dtype: x.dtype }));
}
