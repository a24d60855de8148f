/** Plain matrix products: c[m, n] = Σ_k a[m, k] · b[k, n], row-major. */

/** float64: two rows of c and four of b at a time, so that each element that is loaded serves several products. */
function multiplyFloats(m: number, k: number, n: number, a: Float64Array, b: Float64Array, c: Float64Array): void {
  const even = m - (m % 2);
  for (let row = 0; row < even; row += 2) {
    const a0 = row * k;
    const a1 = a0 + k;
    const c0 = row * n;
    const c1 = c0 + n;
    let i = 0;
    for (; i + 3 < k; i += 4) {
      const [p0, p1, p2, p3] = [a[a0 + i]!, a[a0 + i + 1]!, a[a0 + i + 2]!, a[a0 + i + 3]!];
      const [q0, q1, q2, q3] = [a[a1 + i]!, a[a1 + i + 1]!, a[a1 + i + 2]!, a[a1 + i + 3]!];
      const b0 = i * n;
      const b1 = b0 + n;
      const b2 = b1 + n;
      const b3 = b2 + n;
      for (let j = 0; j < n; j++) {
        const [r0, r1, r2, r3] = [b[b0 + j]!, b[b1 + j]!, b[b2 + j]!, b[b3 + j]!];
        c[c0 + j] = c[c0 + j]! + (p0 * r0 + p1 * r1) + (p2 * r2 + p3 * r3);
        c[c1 + j] = c[c1 + j]! + (q0 * r0 + q1 * r1) + (q2 * r2 + q3 * r3);
      }
    }
    addRows(a, a0, i, k, n, b, c, c0);
    addRows(a, a1, i, k, n, b, c, c1);
  }
  if (even < m) addRows(a, even * k, 0, k, n, b, c, even * n);
}

/** c[to …] += Σ a[from + i] · b[i, …] for i from `start`. */
function addRows(
  a: Float64Array,
  from: number,
  start: number,
  k: number,
  n: number,
  b: Float64Array,
  c: Float64Array,
  to: number,
): void {
  for (let i = start; i < k; i++) {
    const factor = a[from + i]!;
    for (let j = 0; j < n; j++) c[to + j]! += factor * b[i * n + j]!;
  }
}

/** Integers modulo 2^32. */
function multiplyIntegers(m: number, k: number, n: number, a: Float64Array, b: Float64Array, c: Float64Array): void {
  for (let row = 0; row < m; row++) {
    for (let j = 0; j < n; j++) {
      let total = 0;
      for (let i = 0; i < k; i++) total = (total + Math.imul(a[row * k + i]!, b[i * n + j]!)) | 0;
      c[row * n + j] = total;
    }
  }
}

/** A batch of products: a is [batch, m, k], b is [batch, k, n], the result is [batch, m, n]. */
export function batchedProduct(
  [batch, m, k, n]: readonly [batch: number, m: number, k: number, n: number],
  a: Float64Array,
  b: Float64Array,
  integers: boolean,
): Float64Array {
  const c = new Float64Array(batch * m * n);
  if (c.length === 0 || k === 0) return c;
  const multiply = integers ? multiplyIntegers : multiplyFloats;
  for (let i = 0; i < batch; i++) {
    multiply(
      m,
      k,
      n,
      a.subarray(i * m * k, (i + 1) * m * k),
      b.subarray(i * k * n, (i + 1) * k * n),
      c.subarray(i * m * n, (i + 1) * m * n),
    );
  }
  return c;
}
