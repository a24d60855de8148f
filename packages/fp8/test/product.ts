/** Rows of a [rows, columns] array, or columns of its transpose, multiplied in float64. */
export function product(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  [m, k, n]: readonly number[],
  aT = false,
  bT = false,
): Float64Array {
  const y = new Float64Array(m! * n!);
  for (let i = 0; i < m!; i++) {
    for (let p = 0; p < k!; p++) {
      const left = aT ? a[p * m! + i]! : a[i * k! + p]!;
      for (let j = 0; j < n!; j++) y[i * n! + j]! += left * (bT ? b[j * k! + p]! : b[p * n! + j]!);
    }
  }
  return y;
}
