/** One case on the current device: what is called, and how its results are judged. */
import { jit, memory, type Tensor } from "@te/tensor";
import type { Case, HostArray, OpDefinition } from "@te/tensor/op";
import {
  findBitDifference,
  findCodeDifference,
  findDifference,
  findGradientDifference,
  findShapeDifference,
  isExact,
  valuesOf,
} from "./compare.js";
import { fillCase, toTensor } from "./fill.js";
import { drawCotangents, type GradientOfCase, gradientOfCase, orderedNames, outputAvals } from "./gradient.js";
import { callOp, oracle } from "./oracle.js";
import { limitOfGradient, limitOfOutput } from "./rows.js";
import { forSize, type Limit } from "./tolerance.js";

/** A function of tensors with arrays to call it on and a judge for each of its results. */
interface Call {
  readonly f: (...inputs: Tensor[]) => Tensor[];
  readonly given: readonly HostArray[];
  readonly results: readonly { readonly name: string; readonly judge: (result: HostArray) => string | undefined }[];
  /** Positions of arguments whose memory a result may take over. */
  readonly inPlace?: readonly number[];
}

/**
 * Runs one case on the current device and throws on the first thing that is wrong: values, gradients with respect to all
 * results together and to each alone, jit against eager bit for bit, also where a result takes over the memory of an
 * input, memory that is not given back.
 */
export async function runCase(op: OpDefinition, of: Case): Promise<void> {
  const byName = fillCase(op.name, of);
  const arrays = orderedNames(op, of).map((name) => byName[name]!);
  const gradient = gradientOfCase(op, of);
  const calls = [valueCall(op, of, arrays)];
  if (gradient) calls.push(gradientCall(op, of, gradient, arrays));
  if (gradient && gradient.outputs.length > 1) {
    for (const only of gradient.outputs) calls.push(gradientCall(op, of, gradientOfCase(op, of, only)!, arrays));
  }
  for (const call of calls) await runCall(call);
}

/** Calls twice if need be: the first call may leave constants with the programs that are kept, the second must not. */
async function runCall(call: Call): Promise<void> {
  const compiled = [jit(call.f), ...(call.inPlace ?? []).map((at) => jit(call.f, { donateArgnums: [at] }))];
  const before = memory().live;
  await execute(call, compiled);
  const kept = memory().live;
  if (kept <= before) return;
  await execute(call, compiled);
  const left = memory().live - kept;
  if (left > 0) throw new Error(`${left} bytes are still held after every tensor was disposed`);
}

async function execute({ f, given, results }: Call, [compiled, ...inPlace]: Call["f"][]): Promise<void> {
  const made: Tensor[] = [];
  const call = (g: Call["f"]): Tensor[] => {
    const inputs = given.map(toTensor);
    made.push(...inputs);
    const outputs = g(...inputs);
    made.push(...outputs);
    return outputs;
  };
  try {
    const eager = call(f);
    const outputs = call(compiled!);
    const overwriting = inPlace.map(call);
    if (eager.length !== results.length) throw new Error(`expected ${results.length} results, got ${eager.length}`);
    for (const [i, { name, judge }] of results.entries()) {
      throwIf(name, judge(await hostOf(outputs[i]!)));
      throwIf(`${name} of jit against eager`, findBitDifference(outputs[i]!, eager[i]!));
      for (const others of overwriting)
        throwIf(`${name} in place of an input`, findBitDifference(others[i]!, eager[i]!));
    }
  } finally {
    for (const t of made) t.dispose();
  }
}

function valueCall(op: OpDefinition, of: Case, given: readonly HostArray[]): Call {
  const names = orderedNames(op, of);
  const f = (...inputs: Tensor[]): Tensor[] =>
    callOp(op, Object.fromEntries(names.map((name, i) => [name, inputs[i]!])), of.params);
  const avals = outputAvals(op, of);
  const wide = oracle(f, given);
  // Integers and float8 codes are exact: the oracle must round on the way as any backend does.
  const rounded = avals.some(({ dtype }) => isExact(dtype)) ? oracle(f, given, { wide: false }) : [];
  const results = op.outputs.map((name, i) => {
    const { shape, dtype } = avals[i]!;
    const limit = () => of.tolerance ?? forSize(limitOfOutput(op, name, dtype), wide[i]!.data.length);
    const judge = isExact(dtype)
      ? (result: HostArray) => findCodeDifference(result, rounded[i]!, of.tolerance?.n)
      : (result: HostArray) => findDifference(result, { ...wide[i]!, shape, dtype }, limit());
    return { name, judge };
  });
  // Elementwise ops become instructions of one kernel, whose own tests see to this.
  const inPlace = op.elementwise ? [] : (op.inPlace ?? []).map(([input]) => names.indexOf(input));
  return { f, given, results, inPlace: inPlace.filter((at) => at >= 0) };
}

function gradientCall(op: OpDefinition, of: Case, gradient: GradientOfCase, arrays: readonly HostArray[]): Call {
  const cotangents = drawCotangents(gradient.avals, `${op.name}/${of.name}`);
  const given = [...cotangents, ...arrays];
  const wide = oracle(gradient.pull, given);
  const scale = rms(cotangents.flatMap((cotangent) => [...(valuesOf(cotangent).values as Float64Array)]));
  const results = gradient.wrt.map((name, i) => {
    const { shape, dtype } = of.inputs[name]!;
    const limit = of.tolerance ?? forSize(limitOfGradient(op, name, dtype), wide[i]!.data.length);
    const judge = (result: HostArray) => judgeGradient(result, { ...wide[i]!, shape, dtype }, limit, scale);
    return { name: `gradient of ${name}`, judge };
  });
  return { f: gradient.pull, given, results };
}

/** Below this share of its cotangents a gradient is zero by mathematics, and what remains is rounding. */
const VANISHING = 1e-9;

function judgeGradient(result: HostArray, reference: HostArray, limit: Limit, scale: number): string | undefined {
  const { values } = valuesOf(reference);
  const size = rms(values);
  if (size > VANISHING * scale) return findGradientDifference(result, reference, limit);
  const odd = findShapeDifference(result, reference);
  if (odd) return odd;
  const found = Array.from(valuesOf(result).values).reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
  return found <= limit.x * scale ? undefined : `must vanish, but reaches ${found} for cotangents of ${scale}`;
}

const rms = (values: ArrayLike<number>): number =>
  Math.sqrt(Array.from(values).reduce((sum, value) => sum + value * value, 0) / Math.max(values.length, 1));

const hostOf = async (t: Tensor): Promise<HostArray> => ({ shape: t.shape, dtype: t.dtype, data: await t.data() });

function throwIf(what: string, found: string | undefined): void {
  if (found) throw new Error(`${what}: ${found}`);
}
