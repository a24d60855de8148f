/** Rows of packed sequences, their descriptors, and what each sequence gives alone. */
import { type Tensor, tensor, vjp, zeros } from "@te/tensor";
import { expectClose, normals } from "@te/testkit";
import { expect } from "vitest";
import { DotProductAttention, SequenceDescriptor } from "../src/index.js";

export const [HEADS, DEPTH] = [4, 8];
export const int = (rows: number[][]): Tensor => tensor(rows, { dtype: "int32" });
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Lengths of queries and keys of each segment of one row. */
type Row = readonly (readonly [queries: number, keys: number])[];

/** Segments from the left with one token of padding between them, and padding up to `size`. */
export function layOut(row: Row, side: 0 | 1, size: number) {
  const ids = Array<number>(size).fill(0);
  const positions = Array<number>(size).fill(0);
  const starts: number[] = [];
  let at = 0;
  row.forEach((lengths, n) => {
    starts.push(at);
    for (const i of range(lengths[side])) [ids[at + i], positions[at + i]] = [n + 1, i];
    at += lengths[side] + 1;
  });
  return { ids, positions, starts };
}

export interface Packed {
  readonly rows: readonly Row[];
  readonly sizes: readonly [number, number];
}

export function descriptorOf({ rows, sizes }: Packed): SequenceDescriptor {
  const sides = ([0, 1] as const).map((side) => rows.map((row) => layOut(row, side, sizes[side])));
  const pair = (field: "ids" | "positions") =>
    sides.map((side) => int(side.map((row) => row[field]))) as [Tensor, Tensor];
  return SequenceDescriptor.fromSegmentIdsAndPos(pair("ids"), pair("positions"));
}

/** The same, from lengths and offsets. */
export function offsetsOf({ rows, sizes }: Packed): SequenceDescriptor {
  const most = Math.max(...rows.map((row) => row.length));
  const fill = (values: number[], n: number): number[] => [...values, ...Array(n - values.length).fill(-1)];
  const pairs = ([0, 1] as const).map((side) => {
    const lengths = rows.map((row) =>
      fill(
        row.map((l) => l[side]),
        most,
      ),
    );
    const offsets = rows.map((row) => {
      const { starts } = layOut(row, side, sizes[side]);
      return fill([...starts, ...row.slice(-1).map((last) => starts.at(-1)! + last[side])], most + 1);
    });
    return [int(lengths), int(offsets)] as const;
  });
  return SequenceDescriptor.fromSeqlensAndOffsets([pairs[0]![0], pairs[1]![0]], [pairs[0]![1], pairs[1]![1]]);
}

type Four = [out: Tensor, dq: Tensor, dk: Tensor, dv: Tensor];

export function attend(
  options: object,
  [q, k, v, dout]: readonly Tensor[],
  sequences: SequenceDescriptor | null,
  scale = 1,
): Four {
  const module = new DotProductAttention({
    headDim: DEPTH,
    numAttentionHeads: HEADS,
    numGqaGroups: k!.shape[2]!,
    scaleFactor: scale,
    ...options,
  });
  const [out, pull] = vjp(
    (q: Tensor, k: Tensor, v: Tensor): Tensor => module.apply({}, q, k, v, sequences),
    q!,
    k!,
    v!,
  );
  return [out, ...(pull(dout!) as Tensor[])] as Four;
}

export const operands = (
  [queries, keys]: readonly [number, number],
  batch: number,
  groups: number,
  valueDepth = DEPTH,
) => [
  normals([batch, queries, HEADS, DEPTH], { seed: "q" }),
  normals([batch, keys, groups, DEPTH], { seed: "k" }),
  normals([batch, keys, groups, valueDepth], { seed: "v" }),
  normals([batch, queries, HEADS, valueDepth], { seed: "dout" }),
];

export const cut = (t: Tensor, b: number, from: number, length: number): Tensor =>
  t.at([b, b + 1], [from, from + length]);

/** Expects every segment of the packed call to equal a call of its own, and everything else to be exactly 0. */
export function expectAlone(packed: Packed, xs: readonly Tensor[], alone: object, found: Four): void {
  const covered = found.map((t) => zeros(t.shape).dataSync().slice());
  packed.rows.forEach((row, b) => {
    const [qs, ks] = ([0, 1] as const).map((side) => layOut(row, side, packed.sizes[side]).starts) as [
      number[],
      number[],
    ];
    row.forEach(([queries, keys], n) => {
      if (queries === 0 || keys === 0) return;
      const take = (t: Tensor, ofKeys: boolean): Tensor =>
        ofKeys ? cut(t, b, ks[n]!, keys) : cut(t, b, qs[n]!, queries);
      const one = attend(
        alone,
        xs.map((t, i) => take(t, i === 1 || i === 2)),
        null,
      );
      one.forEach((t, i) => {
        const part = take(found[i]!, i >= 2);
        const name = ["out", "dq", "dk", "dv"][i]!;
        if (t.dataSync().every((x) => x === 0))
          expect(
            part.dataSync().every((x) => x === 0),
            name,
          ).toBe(true);
        else expectClose(part, t, i < 2 ? "attention" : "attentionKeyValue", `${name} of segment ${n} of row ${b}`);
        const [, length, heads, depth] = found[i]!.shape as [number, number, number, number];
        const start = (b * length + (i >= 2 ? ks[n]! : qs[n]!)) * heads * depth;
        covered[i]!.fill(1, start, start + t.shape[1]! * heads * depth);
      });
    });
  });
  found.forEach((t, i) => {
    const outside = Array.from(t.dataSync(), Number).filter((_, at) => covered[i]![at] === 0);
    expect(new Set(outside.map(Math.abs)).size, `padding of ${i}`).toBeLessThanOrEqual(1);
    for (const x of new Set(outside)) expect(Math.abs(x)).toBe(0);
  });
}
