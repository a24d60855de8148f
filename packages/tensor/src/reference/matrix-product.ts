/** Plain matrix products: c[m, n] = Σ_k a[m, k] · b[k, n], row-major. */

/** float64, four rows of b at a time, so that each pass over a row of c does eight operations per element. */
function multiplyFloats(m: number, k: number, n: number, a: Float64Array, b: Float64Array, c: Float64Array): void {
  for (let row = 0; row < m; row++) {
    const to = row * n;
    const from = row * k;
    let i = 0;
    for (; i + 3 < k; i += 4) {
      const a0 = a[from + i]!;
      const a1 = a[from + i + 1]!;
      const a2 = a[from + i + 2]!;
      const a3 = a[from + i + 3]!;
      const b0 = i * n;
      const b1 = b0 + n;
      const b2 = b1 + n;
      const b3 = b2 + n;
      for (let j = 0; j < n; j++) {
        c[to + j] = c[to + j]! + (a0 * b[b0 + j]! + a1 * b[b1 + j]!) + (a2 * b[b2 + j]! + a3 * b[b3 + j]!);
      }
    }
    for (; i < k; i++) {
      const a0 = a[from + i]!;
      for (let j = 0; j < n; j++) c[to + j]! += a0 * b[i * n + j]!;
    }
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
