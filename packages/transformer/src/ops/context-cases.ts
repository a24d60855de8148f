/** The calls that test context-parallel attention and its gradients. */
import type { Case, CaseBuilder, Fill } from "@te/tensor/op";
import type { ContextParams } from "./context-problem.js";

interface Wanted {
  readonly queries?: number;
  readonly keys?: number;
  readonly groups?: number;
  readonly valueDepth?: number;
  /** Segments of packed sequences, with positions. */
  readonly packed?: boolean;
  readonly params?: Partial<ContextParams>;
}

const CASES: Readonly<Record<string, Wanted>> = {
  "no mask": { keys: 18, params: { parts: 2 } },
  causal: { params: { causal: true, parts: 3 } },
  "causal, more keys than queries": { queries: 6, params: { causal: true, parts: 2 } },
  "causal, balanced": { params: { causal: true, parts: 2, order: "dual_chunk_swap" } },
  "causal, balanced, in 3 parts, one group": {
    groups: 1,
    params: { causal: true, parts: 3, order: "dual_chunk_swap" },
  },
  "packed kv, sequence first": { groups: 2, params: { causal: true, parts: 2, packing: "kv", layout: "sbhd" } },
  "balanced packed kv": { groups: 2, params: { causal: true, parts: 3, packing: "kv", order: "dual_chunk_swap" } },
  "values of another depth": { valueDepth: 3, params: { causal: true, parts: 2 } },
  segments: { packed: true, params: { causal: true, parts: 2 } },
  "segments, window": { packed: true, params: { causal: true, windowLeft: 3, windowRight: 0, parts: 3 } },
  "one part": { params: { causal: true } },
};

function operands(c: CaseBuilder, kind: "forward" | "backward", wanted: Wanted): Record<string, Fill> {
  const { queries = 12, keys = 12, groups = 4, valueDepth = 8, packed = false, params = {} } = wanted;
  const [batch, heads, depth] = [2, 4, 8];
  const fill = (length: number, ...rest: number[]): Fill =>
    c.normal(params.layout === "sbhd" ? [length, batch, ...rest] : [batch, length, ...rest]);
  const isPacked = params.packing === "kv";
  const rows = (length: number, high: number): Fill => c.integers([batch, length], { high });
  const out = fill(queries, heads, isPacked ? depth : valueDepth);
  const max = c.normal([batch, heads, queries]);
  return {
    q: fill(queries, heads, depth),
    k: isPacked ? fill(keys, 2, groups, depth) : fill(keys, groups, depth),
    ...(!isPacked && { v: fill(keys, groups, valueDepth) }),
    ...(packed && {
      segmentsQ: rows(queries, 3),
      segmentsKv: rows(keys, 3),
      positionsQ: rows(queries, keys),
      positionsKv: rows(keys, keys),
    }),
    ...(kind === "backward" && {
      out,
      max,
      sum: c.uniform(max.shape, { low: 5, high: 30 }),
      dout: out,
      dlse: c.normal(max.shape),
    }),
  };
}

export const contextCases = (c: CaseBuilder, kind: "forward" | "backward"): Case[] =>
  Object.entries(CASES).flatMap(([name, wanted]) =>
    (["all_gather", "ring"] as const).map((strategy) =>
      c.case(
        `${strategy}, ${name}`,
        operands(c, kind, wanted),
        { scale: 0.35, ...wanted.params, strategy },
        { gradient: kind === "forward" },
      ),
    ),
  );
