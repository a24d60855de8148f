/**
 * The inverse of erf in float32 with the bits that XLA gives on a CPU: M. Giles' polynomials by fused multiply-adds in
 * w = -log1p(-x²), with XLA's float32 log1p. Random normals of JAX are made of it, so this keeps the approximation's
 * error (up to 70 ulp near ±1) rather than the true value.
 */
import { GILES_CENTRAL, GILES_TAIL } from "./special-functions.js";

const { fround } = Math;
const toFloat32 = (...coefficients: readonly number[]): readonly number[] => coefficients.map(fround);

// A float64 product of float32 numbers is exact, so fround(a * b + c) is a fused multiply-add.
function horner(coefficients: readonly number[], x: number): number {
  let y = 0;
  for (const c of coefficients) y = fround(y * x + c);
  return y;
}

// Cephes: log(1 + x) = x - x²/2 + x³ · P(x) / Q(x) for |x| < √2 - 1.
const P = toFloat32(
  4.52700008624452e-5,
  0.49854102823193375,
  6.578732594206104,
  29.911919328553072,
  60.94966798098779,
  57.11296359058554,
  20.039553499201283,
);
const Q = toFloat32(
  1,
  15.062909083469192,
  83.04756596796722,
  221.76239823732857,
  309.09872225312057,
  216.42788614495947,
  60.11866049760384,
);
// Cephes: log(1 + m) = m - m²/2 + m³ · L(m), in three interleaved cubics as Eigen evaluates it.
const L = [
  toFloat32(7.0376836292e-2, -1.151461031e-1, 1.167699874e-1),
  toFloat32(-1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1),
  toFloat32(2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
] as const;
const LN2_LOW = fround(-2.1219444e-4);
const LN2_HIGH = fround(0.693359375);
const SQRT_HALF = fround(Math.SQRT1_2);

/** log(x) of a positive normal float32: x = 2^e (1 + m) with 1 + m in [√½, √2). */
function log32(x: number): number {
  let e = Math.floor(Math.log2(x)) + 1;
  let fraction = x / 2 ** e;
  if (fraction < SQRT_HALF) {
    e -= 1;
    fraction *= 2;
  }
  const m = fraction - 1;
  const square = fround(m * m);
  const cube = fround(square * m);
  let y = horner(L[0], m);
  y = fround(y * cube + horner(L[1], m));
  y = fround(y * cube + horner(L[2], m));
  y = fround(y * cube + fround(LN2_LOW * e));
  return fround(fround(fround(m - 0.5 * square) + y) + LN2_HIGH * e);
}

function log1p32(x: number): number {
  if (Math.abs(x) >= Math.SQRT2 - 1) return log32(fround(1 + x));
  const square = fround(x * x);
  const tail = fround(fround(x * square) * fround(horner(P, x) / horner(Q, x)));
  return fround(x + fround(-0.5 * square + tail));
}

const CENTRAL = toFloat32(...GILES_CENTRAL);
const TAIL = toFloat32(...GILES_TAIL);

/** erf_inv(x) of a float32; ±1 gives ±∞, outside [-1, 1] NaN. */
export function erfInv32(x: number): number {
  if (x === 0 || !(Math.abs(x) < 1)) return Math.abs(x) === 1 ? x * Number.POSITIVE_INFINITY : x === 0 ? x : Number.NaN;
  const w = -log1p32(-fround(x * x));
  const y = w < 5 ? horner(CENTRAL, fround(w - 2.5)) : horner(TAIL, fround(fround(Math.sqrt(w)) - 3));
  return fround(y * x);
}
