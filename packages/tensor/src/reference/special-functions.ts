/**
 * Functions that JavaScript's Math lacks, in float64 with errors of a few ulp.
 *
 * erf and erfc: for |x| < 2 the Maclaurin-type series erf(x) = 2/√π e^(-x²) Σ 2^n x^(2n+1) / (2n+1)!!, whose terms are all
 * positive; beyond, the continued fraction erfc(x) = e^(-x²)/√π · 1/(x + ½/(x + 1/(x + (3/2)/(x + …)))), evaluated by
 * Lentz's method.
 */
const TWO_OVER_SQRT_PI = 2 / Math.sqrt(Math.PI);

function erfSeries(x: number): number {
  const square = 2 * x * x;
  let term = x;
  let sum = x;
  for (let n = 1; term > sum * 1e-17; n++) {
    term *= square / (2 * n + 1);
    sum += term;
  }
  return TWO_OVER_SQRT_PI * Math.exp(-x * x) * sum;
}

function erfcFraction(x: number): number {
  let f = x;
  let c = x;
  let d = 0;
  for (let n = 1; n < 400; n++) {
    d = 1 / (x + (n / 2) * d);
    c = x + n / 2 / c;
    const step = c * d;
    f *= step;
    if (Math.abs(step - 1) < 1e-16) break;
  }
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * f);
}

/** The error function 2/√π ∫₀ˣ e^(-t²) dt. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (Number.isNaN(x) || a === 0) return x;
  const y = a < 2 ? erfSeries(a) : a > 6 ? 1 : 1 - erfcFraction(a);
  return x < 0 ? -y : y;
}

/** 1 - erf(x), without cancellation for large x. */
export function erfc(x: number): number {
  if (x < 2) return 1 - erf(x);
  return x > 27 ? 0 : erfcFraction(x);
}

/** Coefficients of M. Giles' approximation of erf_inv(x)/x in w = -log(1-x²), for w < 5 and for w ≥ 5. */
export const GILES_CENTRAL: readonly number[] = [
  2.81022636e-8, 3.43273939e-7, -3.5233877e-6, -4.39150654e-6, 0.00021858087, -0.00125372503, -0.00417768164,
  0.246640727, 1.50140941,
];
export const GILES_TAIL: readonly number[] = [
  -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
  1.00167406, 2.83297682,
];

const polynomial = (coefficients: readonly number[], x: number): number => {
  let y = 0;
  for (const c of coefficients) y = y * x + c;
  return y;
};

/** The inverse of erf: single-precision start, then Halley steps on erf, or on erfc near the ends. */
export function erfInv(x: number): number {
  const a = Math.abs(x);
  if (a === 0 || !(a <= 1)) return a === 0 ? x : Number.NaN;
  if (a === 1) return x * Number.POSITIVE_INFINITY;
  const w = -Math.log((1 - a) * (1 + a));
  let y = a * (w < 5 ? polynomial(GILES_CENTRAL, w - 2.5) : polynomial(GILES_TAIL, Math.sqrt(w) - 3));
  for (let i = 0, change = 1; i < 8 && change > 1e-9 * y; i++) {
    const error = a < 0.5 ? erf(y) - a : 1 - a - erfc(y);
    const step = error / (TWO_OVER_SQRT_PI * Math.exp(-y * y));
    // Halley's correction: the second derivative of erf is -2y times the first.
    const move = step / (1 + y * step);
    y -= move;
    change = Math.abs(move);
  }
  return x < 0 ? -y : y;
}

/** Rounds to the nearest integer, halves to the even one: adding 2^52 leaves no room for a fraction. */
export function roundHalfEven(x: number): number {
  const a = Math.abs(x);
  if (x === 0 || !(a < 2 ** 52)) return x;
  const rounded = a + 2 ** 52 - 2 ** 52;
  return x < 0 ? -rounded : rounded;
}

/** C's pow: 1^y and (-1)^±∞ are 1, also where JavaScript says NaN. */
export function power(x: number, y: number): number {
  if (x === 1 || (x === -1 && (y === Number.POSITIVE_INFINITY || y === Number.NEGATIVE_INFINITY))) return 1;
  return x ** y;
}

/** Integer power modulo 2^32; a negative exponent truncates toward zero. */
export function integerPower(x: number, y: number): number {
  if (y < 0) return x === 1 ? 1 : x === -1 ? (y % 2 ? -1 : 1) : 0;
  let result = 1;
  for (let base = x | 0, n = y; n > 0; n = Math.floor(n / 2)) {
    if (n % 2) result = Math.imul(result, base);
    base = Math.imul(base, base);
  }
  return result;
}
