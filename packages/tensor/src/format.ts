/** Tensors as text for people to read. */
import { formatAval, sizeOf } from "./aval.js";
import { isFloat } from "./dtype.js";
import { toFloat64 } from "./float-codes.js";
import type { Tensor } from "./tensor.js";

const EDGE = 3;
/** Numbers in a text; tensors of many axes would have more, however short the axes are cut. */
const MOST_SHOWN = 10_000;

/** "float32[2,3] [[1, 2, 3], [4, 5, 6]]", with long axes cut in the middle and floats rounded to five digits. */
export function formatTensor(t: Tensor): string {
  const head = formatAval(t);
  if (!t.storage) return `traced ${head}`;
  if (t.storage.isGone) return `disposed ${head}`;
  if (t.size === 0) return `${head} []`;
  const shown = t.shape.reduce((n, d) => n * Math.min(d, 2 * EDGE + 2), 1);
  if (shown > MOST_SHOWN) return `${head} […]`;
  const values = toFloat64(t.dtype, t.dataSync());
  const write = (value: number): string => {
    if (t.dtype === "bool") return String(value !== 0);
    return String(isFloat(t.dtype) ? Number(value.toPrecision(5)) : value);
  };
  const build = (axis: number, offset: number): string => {
    if (axis === t.rank) return write(values[offset]!);
    const length = t.shape[axis]!;
    const step = sizeOf(t.shape.slice(axis + 1));
    const show =
      length > 2 * EDGE + 2
        ? [...Array(EDGE).keys(), -1, ...Array.from({ length: EDGE }, (_, i) => length - EDGE + i)]
        : [...Array(length).keys()];
    return `[${show.map((i) => (i < 0 ? "…" : build(axis + 1, offset + i * step))).join(", ")}]`;
  };
  return `${head} ${build(0, 0)}`;
}
