/** Basic indexing as in NumPy, worked out as a slice and a reshape. */
import { fail } from "../errors.js";
import type { Tensor } from "../tensor.js";
import { expectTensor } from "./check.js";
import { reshape } from "./reshape.js";
import { slice } from "./slice.js";

/**
 * One entry of an index: a number picks and drops an axis, [start, stop, step] takes a range (stop and step may be left
 * out), ":" takes the whole axis, "..." all axes that are not mentioned, null inserts an axis of length 1.
 */
export type Index = number | ":" | "..." | null | readonly [start: number, stop?: number, step?: number];

interface Window {
  readonly start: number[];
  readonly limit: number[];
  readonly stride: number[];
  /** Lengths of the result, without the axes that a number dropped. */
  readonly shape: number[];
}

/** Replaces "..." by as many ":" as there are axes left, and adds those at the end. */
function spell(indices: readonly Index[], rank: number): Exclude<Index, "...">[] {
  const used = indices.filter((i) => i !== null && i !== "...").length;
  const dots = indices.filter((i) => i === "...").length;
  if (dots > 1) fail("index", "at", 'one "..." may stand in an index', dots);
  if (used > rank) fail("index", "at", `there are ${rank} axes to index`, `${used} entries`);
  const rest = new Array<":">(rank - used).fill(":");
  const full = dots ? indices : [...indices, "..." as const];
  return full.flatMap((i) => (i === "..." ? rest : [i]));
}

function addEntry(window: Window, entry: Exclude<Index, "..." | null>, length: number, axis: number): void {
  if (typeof entry === "number") {
    const at = entry < 0 ? entry + length : entry;
    if (!Number.isInteger(entry) || at < 0 || at >= length) {
      fail("index", "at", `the index of axis ${axis} must be an integer in [${-length}, ${length})`, entry);
    }
    window.start.push(at);
    window.limit.push(at + 1);
    window.stride.push(1);
    return;
  }
  if (entry !== ":" && !(Array.isArray(entry) && entry.length >= 1 && entry.length <= 3))
    fail(
      "index",
      "at",
      `the entry of axis ${axis} must be an integer, [start, stop, step], ":", "..." or null`,
      entry ?? String(entry),
    );
  const [from, to = length, step = 1] = entry === ":" ? [0] : entry;
  if (![from, to, step].every(Number.isInteger) || step < 1) {
    fail(
      "index",
      "at",
      `the range of axis ${axis} must be integers with a step of at least 1`,
      [from, to, step],
      "Use flip for a negative step.",
    );
  }
  // A range is cut to the axis, as in NumPy.
  const inside = (i: number) => Math.min(Math.max(i < 0 ? i + length : i, 0), length);
  const start = inside(from);
  const limit = Math.max(start, inside(to));
  window.start.push(start);
  window.limit.push(limit);
  window.stride.push(step);
  window.shape.push(Math.ceil((limit - start) / step));
}

/** NumPy's basic indexing; see {@link Index}. A number out of range is an error, a range is cut to the axis. */
export function at(x: Tensor, ...indices: Index[]): Tensor {
  expectTensor("at", { x });
  const window: Window = { start: [], limit: [], stride: [], shape: [] };
  let axis = 0;
  for (const entry of spell(indices, x.rank)) {
    if (entry === null) {
      window.shape.push(1);
      continue;
    }
    addEntry(window, entry, x.shape[axis]!, axis);
    axis++;
  }
  return reshape(slice(x, window.start, window.limit, window.stride), window.shape);
}
