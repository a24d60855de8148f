/** From one layout of a value to another: which collectives, in which order, and what they move. */
import type { Aval } from "@te/tensor";
import { byteSize } from "@te/tensor/backend";
import { expectNumber, type Reduction } from "@te/tensor/op";
import type { Mesh } from "../mesh.js";
import { expectKind } from "./check.js";
import { countAlong, formatLayout, type Layout, partShape } from "./layout.js";

/** A step on the way from a layout to another. All devices that differ along its axes alone take part in it together. */
export type Move =
  /** Each device keeps its part along a dimension. Nothing is sent. */
  | { readonly kind: "slice"; readonly axis: string; readonly dim: number }
  /** The first device keeps the whole, and the others zeros, so that it waits for a sum. Nothing is sent. */
  | { readonly kind: "hold"; readonly axis: string }
  /** The parts along a dimension are put together. */
  | { readonly kind: "all_gather"; readonly axis: string; readonly dim: number }
  /** Partial results are combined, and each device keeps its part along a dimension. */
  | { readonly kind: "reduce_scatter"; readonly axis: string; readonly dim: number; readonly reduction: Reduction }
  /** Partial results are combined. */
  | { readonly kind: "all_reduce"; readonly axes: readonly string[]; readonly reduction: Reduction }
  /** Instead of along one dimension the value is split along another. */
  | { readonly kind: "all_to_all"; readonly axis: string; readonly from: number; readonly to: number }
  /** The whole value of place `sources[i]` goes to place `targets[i]`; places that nothing goes to get zeros. */
  | {
      readonly kind: "ppermute";
      readonly axis: string;
      readonly sources: readonly number[];
      readonly targets: readonly number[];
    };

/** Moves that send something. */
export type Sending = Exclude<Move, { kind: "slice" | "hold" }>;

/** Whether a move sends something. */
export const isSending = (move: Move): move is Sending => move.kind !== "slice" && move.kind !== "hold";

/** A step with the layout after it. */
export interface Moved {
  readonly move: Move;
  readonly layout: Layout;
}

/** Bytes of the value that a device holds in a layout. */
export const bytesIn = (mesh: Mesh, layout: Layout, of: Aval): number =>
  byteSize({ shape: partShape(mesh, layout, of.shape), dtype: of.dtype });

/**
 * The bytes that each device sends in a step by the best known algorithms, where `p` devices take part in it: (p - 1)/p of
 * what is gathered, scattered or exchanged, and twice that of what is reduced for all.
 */
export function bytesSent(mesh: Mesh, of: Aval, before: Layout, { move, layout }: Moved): number {
  if (!isSending(move)) return 0;
  const p = countAlong(mesh, move.kind === "all_reduce" ? move.axes : [move.axis]);
  const larger = Math.max(bytesIn(mesh, before, of), bytesIn(mesh, layout, of));
  return sentBytes(move.kind, larger, p);
}

/** Bytes that each of p devices sends, where `bytes` are those of the larger of what it gives and what it gets. */
export function sentBytes(kind: Sending["kind"], bytes: number, p: number): number {
  expectKind("sentBytes", kind);
  expectNumber("sentBytes", { bytes, p });
  if (kind === "ppermute") return bytes;
  return ((kind === "all_reduce" ? 2 : 1) * bytes * (p - 1)) / p;
}

/** Bytes that each device sends on the whole way. */
export function costOf(mesh: Mesh, of: Aval, from: Layout, to: Layout): number {
  let [sum, before] = [0, from];
  for (const moved of planMoves(mesh, from, to)) {
    sum += bytesSent(mesh, of, before, moved);
    before = moved.layout;
  }
  return sum;
}

/** A way between layouts in the making: dims and partial are where it stands now. */
class Way {
  readonly moved: Moved[] = [];
  readonly dims: string[][];
  readonly partial: Record<string, Reduction>;

  constructor(
    from: Layout,
    private readonly to: Layout,
  ) {
    this.dims = from.dims.map((axes) => [...axes]);
    this.partial = { ...from.partial };
  }

  take(move: Move, change: () => void): true {
    change();
    this.moved.push({ move, layout: { dims: this.dims.map((axes) => [...axes]), partial: { ...this.partial } } });
    return true;
  }

  /** The next axis that a dimension is to be split along; undefined where other axes have to go first, or none is left. */
  private next(dim: number): string | undefined {
    const [now, then] = [this.dims[dim]!, this.to.dims[dim]!];
    return now.every((axis, k) => then[k] === axis) ? then[now.length] : undefined;
  }

  /** The innermost axis of a dimension that has to go. */
  private extra(dim: number): string | undefined {
    const [now, then] = [this.dims[dim]!, this.to.dims[dim]!];
    return now.some((axis, k) => then[k] !== axis) ? now.at(-1) : undefined;
  }

  /** Takes the cheapest step that brings it nearer: those that make less to move come first. */
  step(): boolean {
    const all = this.dims.map((_, dim) => dim);
    const used = new Set(this.dims.flat());
    for (const dim of all) {
      const axis = this.next(dim);
      if (axis === undefined || used.has(axis)) continue;
      const reduction = this.partial[axis];
      return reduction
        ? this.take({ kind: "reduce_scatter", axis, dim, reduction }, () => {
            delete this.partial[axis];
            this.dims[dim]!.push(axis);
          })
        : this.take({ kind: "slice", axis, dim }, () => this.dims[dim]!.push(axis));
    }
    return this.exchange(all) || this.reduce() || this.gather(all) || this.hold();
  }

  private exchange(all: readonly number[]): boolean {
    for (const from of all) {
      const axis = this.extra(from);
      const to = all.find((dim) => dim !== from && axis !== undefined && this.next(dim) === axis);
      if (axis === undefined || to === undefined) continue;
      return this.take({ kind: "all_to_all", axis, from, to }, () => {
        this.dims[from]!.pop();
        this.dims[to]!.push(axis);
      });
    }
    return false;
  }

  private reduce(): boolean {
    const wanted = new Set(this.to.dims.flat());
    const [first] = Object.keys(this.partial).filter((axis) => !(axis in this.to.partial) && !wanted.has(axis));
    if (first === undefined) return false;
    const reduction = this.partial[first]!;
    const axes = Object.keys(this.partial).filter(
      (axis) => this.partial[axis] === reduction && !(axis in this.to.partial) && !wanted.has(axis),
    );
    return this.take({ kind: "all_reduce", axes, reduction }, () => {
      for (const axis of axes) delete this.partial[axis];
    });
  }

  private hold(): boolean {
    const axis = Object.keys(this.to.partial).find((axis) => !(axis in this.partial));
    if (axis === undefined) return false;
    return this.take({ kind: "hold", axis }, () => {
      this.partial[axis] = "sum";
    });
  }

  private gather(all: readonly number[]): boolean {
    for (const dim of all) {
      const axis = this.extra(dim);
      if (axis === undefined) continue;
      return this.take({ kind: "all_gather", axis, dim }, () => this.dims[dim]!.pop());
    }
    return false;
  }
}

const ways = new WeakMap<Mesh, Map<string, readonly Moved[]>>();

/**
 * The steps from one layout to another. Slices and reduce-scatters come first, because they make less to move, gathers last.
 * `to` may wait for partial results that `from` waits for too, and for sums: a whole value is one of itself and zeros.
 */
export function planMoves(mesh: Mesh, from: Layout, to: Layout): readonly Moved[] {
  const known = ways.get(mesh) ?? new Map<string, readonly Moved[]>();
  ways.set(mesh, known);
  const key = `${formatLayout(from)}>${formatLayout(to)}`;
  let moved = known.get(key);
  if (!moved) {
    const way = new Way(from, to);
    while (way.step());
    moved = way.moved;
    known.set(key, moved);
  }
  return moved;
}
