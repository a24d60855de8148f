/** First values of parameters: constants, random ones by fan, and packed kernels drawn slice by slice. */
import { type DType, full, ones as onesOf, random, stack, TeError, type Tensor, zeros as zerosOf } from "@te/tensor";
import {
  checkShape,
  expectFinite,
  expectFunction,
  expectList,
  expectNumber,
  fail,
  normalizeAxis,
  withDefaults,
} from "@te/tensor/op";

/** Makes the first value of a parameter from a key, its shape and its dtype. */
export type Initializer = (key: Tensor, shape: readonly number[], dtype: DType) => Tensor;

/** All zeros. */
export const zeros: Initializer = (_, shape, dtype) => zerosOf(shape, { dtype });
/** All ones. */
export const ones: Initializer = (_, shape, dtype) => onesOf(shape, { dtype });
/** All of one value. */
export function constant(value: number): Initializer {
  expectNumber("constant", { value });
  return (_, shape, dtype) => full(shape, value, { dtype });
}

export type FanMode = "fan_in" | "fan_out" | "fan_avg";
export type Distribution = "normal" | "truncated_normal" | "uniform";

const MODES: readonly FanMode[] = ["fan_in", "fan_out", "fan_avg"];
const DISTRIBUTIONS: readonly Distribution[] = ["normal", "truncated_normal", "uniform"];

/** The standard deviation of a unit normal truncated to [-2, 2]. */
const TRUNCATED_STD = 0.87962566103423978;

/**
 * Values with variance scale / n, where n is the number of inputs, of outputs, or their mean, each times the product of
 * the axes that are neither (the receptive field). Drawn and scaled in `dtype`, so that a key gives JAX's values.
 */
export function varianceScaling(
  scale: number,
  mode: FanMode,
  distribution: Distribution,
  options: { inAxis?: number; outAxis?: number } = {},
): Initializer {
  const { inAxis, outAxis } = withDefaults("varianceScaling", options, { inAxis: -2, outAxis: -1 });
  expectFinite("varianceScaling", { scale, inAxis, outAxis });
  if (!MODES.includes(mode))
    fail("option", "varianceScaling", `mode must be one of ${MODES.join(", ")}`, mode ?? String(mode));
  if (!DISTRIBUTIONS.includes(distribution))
    fail(
      "option",
      "varianceScaling",
      `distribution must be one of ${DISTRIBUTIONS.join(", ")}`,
      distribution ?? String(distribution),
    );
  return (key, shape, dtype) => {
    const [fanIn, fanOut] = fans(shape, inAxis, outAxis);
    const n = { fan_in: fanIn, fan_out: fanOut, fan_avg: (fanIn + fanOut) / 2 }[mode];
    const variance = full([], scale / n, { dtype });
    if (distribution === "normal") return random.normal(key, shape, { dtype }).mul(variance.sqrt());
    if (distribution === "uniform") {
      return random.uniform(key, shape, { dtype, low: -1, high: 1 }).mul(variance.mul(3).sqrt());
    }
    const std = variance.sqrt().div(full([], TRUNCATED_STD, { dtype }));
    return random.truncatedNormal(key, -2, 2, shape, { dtype }).mul(std);
  };
}

function fans(shape: readonly number[], inAxis: number, outAxis: number): [fanIn: number, fanOut: number] {
  checkShape("varianceScaling", shape);
  if (shape.length < 2) {
    throw new TeError(
      "shape",
      `varianceScaling: the shape must have at least two axes, got [${shape.join(",")}]. Use zeros, ones or constant for vectors.`,
    );
  }
  const inputs = shape[normalizeAxis("varianceScaling", inAxis, shape.length)]!;
  const outputs = shape[normalizeAxis("varianceScaling", outAxis, shape.length)]!;
  const receptive = shape.reduce((a, b) => a * b, 1) / (inputs * outputs);
  return [inputs * receptive, outputs * receptive];
}

/** One initializer per slice of axis -2: splits the key, draws each slice with its own fans, and stacks them. */
export function stackSlices(slices: readonly Initializer[]): Initializer {
  expectList("stackSlices", "initializers", { slices }, (item) => typeof item === "function");
  return (key, shape, dtype) => {
    const slice = sliceOf("stackSlices", shape);
    const parts = random.split(key, slices.length).map((k, i) => slices[i]!(k, slice, dtype));
    return stack(parts, -2);
  };
}

/** The shape without axis -2. */
function sliceOf(fn: string, shape: readonly number[]): number[] {
  checkShape(fn, shape);
  if (shape.length < 2) fail("shape", fn, "the shape must have at least two axes", shape);
  return [...shape.slice(0, -2), shape.at(-1)!];
}

/** The same initializer for every slice of axis -2; the key is split anew for each, as the original does. */
export function chainSlices(init: Initializer): Initializer {
  expectFunction("chainSlices", { init });
  return (key, shape, dtype) => {
    const slice = sliceOf("chainSlices", shape);
    let carry = key;
    const parts = Array.from({ length: shape.at(-2)! }, () => {
      const [next, use] = random.split(carry) as [Tensor, Tensor];
      carry = next;
      return init(use, slice, dtype);
    });
    return stack(parts, -2);
  };
}
