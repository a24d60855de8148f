/** Attention and its gradients in float64, one element at a time: independent of the ops under test. */

export interface OracleSizes {
  readonly batch: number;
  readonly queries: number;
  readonly keys: number;
  readonly heads: number;
  readonly groups: number;
  readonly depth: number;
}

export interface OracleInputs {
  /** Row-major [B, S, heads, depth]. */
  readonly q: ArrayLike<number>;
  readonly k: ArrayLike<number>;
  readonly v: ArrayLike<number>;
  readonly dout: ArrayLike<number>;
  readonly scale: number;
  readonly visible: (b: number, head: number, query: number, key: number) => boolean;
}

export interface OracleResult {
  readonly out: Float64Array;
  readonly dq: Float64Array;
  readonly dk: Float64Array;
  readonly dv: Float64Array;
}

function dot(a: ArrayLike<number>, i: number, b: ArrayLike<number>, j: number, n: number): number {
  let sum = 0;
  for (let e = 0; e < n; e++) sum += a[i * n + e]! * b[j * n + e]!;
  return sum;
}

function addScaled(to: Float64Array, i: number, factor: number, from: ArrayLike<number>, j: number, n: number): void {
  for (let e = 0; e < n; e++) to[i * n + e]! += factor * from[j * n + e]!;
}

export function attentionOracle(s: OracleSizes, x: OracleInputs): OracleResult {
  const n = s.depth;
  const out = new Float64Array(x.q.length);
  const dq = new Float64Array(x.q.length);
  const dk = new Float64Array(x.k.length);
  const dv = new Float64Array(x.v.length);
  const p = new Float64Array(s.keys);
  const dp = new Float64Array(s.keys);
  for (let b = 0; b < s.batch; b++) {
    for (let head = 0; head < s.heads; head++) {
      const group = Math.floor(head / (s.heads / s.groups));
      for (let i = 0; i < s.queries; i++) {
        const query = (b * s.queries + i) * s.heads + head;
        const keyRow = (j: number): number => (b * s.keys + j) * s.groups + group;
        let top = Number.NEGATIVE_INFINITY;
        for (let j = 0; j < s.keys; j++) {
          p[j] = x.visible(b, head, i, j) ? x.scale * dot(x.q, query, x.k, keyRow(j), n) : Number.NEGATIVE_INFINITY;
          top = Math.max(top, p[j]!);
        }
        if (top === Number.NEGATIVE_INFINITY) continue;
        let total = 0;
        for (let j = 0; j < s.keys; j++) total += p[j] = Math.exp(p[j]! - top);
        let mean = 0;
        for (let j = 0; j < s.keys; j++) {
          p[j]! /= total;
          dp[j] = dot(x.dout, query, x.v, keyRow(j), n);
          mean += p[j]! * dp[j]!;
          addScaled(out, query, p[j]!, x.v, keyRow(j), n);
          addScaled(dv, keyRow(j), p[j]!, x.dout, query, n);
        }
        for (let j = 0; j < s.keys; j++) {
          const ds = x.scale * p[j]! * (dp[j]! - mean);
          addScaled(dq, query, ds, x.k, keyRow(j), n);
          addScaled(dk, keyRow(j), ds, x.q, query, n);
        }
      }
    }
  }
  return { out, dq, dk, dv };
}
