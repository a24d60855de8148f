/**
 * Sharding rules against the maths: every case of every op, split in two along each factor that its rule splits, gives the
 * same results and gradients when the parts are put together as the rule says.
 */
import { concat, maximum, minimum, type Tensor } from "@te/tensor";
import {
  applyShard,
  type Case,
  CaseBuilder,
  definedOps,
  formatRule,
  type HostArray,
  inputNames,
  type OpDefinition,
  type Operand,
  type Range,
  type Rule,
  Shard,
  shardingRule,
  sizeOf,
} from "@te/tensor/op";
import { describe, expect, test } from "vitest";
import type { BackendSuiteOptions } from "./backend-suite.js";
import { findCodeDifference, findDifference, isExact } from "./compare.js";
import { fillCase } from "./fill.js";
import { drawCotangents, gradientOfCase, orderedNames, outputAvals } from "./gradient.js";
import { callOp, findOp, oracle } from "./oracle.js";
import { forSize, limitOf, widen } from "./tolerance.js";

/** Larger cases are there for the kernels. */
const MOST_ELEMENTS = 2 ** 16;

/** The rule of a case. */
export function ruleOfCase(op: OpDefinition, of: Case): Rule {
  const names = inputNames(op, Object.keys(of.inputs).length);
  return shardingRule(
    op,
    names.map((name) => of.inputs[name]),
    { ...op.params, ...of.params },
  );
}

/** The factors of a rule that are long enough to be split. */
export const splittable = ({ factors }: Rule): string[] =>
  Object.entries(factors).flatMap(([name, { size, split }]) =>
    split !== "whole" && split !== "together" && size > 1 ? [name] : [],
  );

/** Two parts, uneven where that is possible. */
function halves(size: number): Range[] {
  const first = Math.ceil(size / 3);
  return [
    { start: 0, size: first },
    { start: first, size: size - first },
  ];
}

/** The results of an op from those of its parts, split in two along each of the factors. */
function callSplit(
  rule: Rule,
  factors: readonly string[],
  op: OpDefinition,
  inputs: Readonly<Record<string, Tensor>>,
  params: Case["params"],
): Tensor[] {
  const given = inputNames(op, Object.keys(inputs).length).map((name) => inputs[name]);
  const run = (ranges: Readonly<Record<string, Range>>, [factor, ...rest]: readonly string[]): Tensor[] => {
    const shard = new Shard(op, rule, ranges);
    if (factor === undefined) {
      const parts = given.map((x, i) => x && shard.part(rule.inputs[i]!, x));
      return applyShard(shard, parts, { ...op.params, ...params });
    }
    const parts = halves(rule.factors[factor]!.size).map((range) => run({ ...ranges, [factor]: range }, rest));
    const partsOf = (i: number): Tensor[] => parts.map((outputs) => outputs[i]!);
    return rule.outputs.map((of, i) => combine(factor, shard, of, partsOf(i)));
  };
  return run({}, factors);
}

/** The output that parts along a factor make: side by side, or by its reduction. */
function combine(factor: string, shard: Shard, of: Operand, parts: readonly Tensor[]): Tensor {
  const { split } = shard.rule.factors[factor]!;
  const [first, second] = parts as [Tensor, Tensor];
  if (of.dims.flat().includes(factor)) return join(factor, shard, of, parts);
  if (split === "max") return maximum(first, second);
  if (split === "min") return minimum(first, second);
  return first.add(second);
}

function join(factor: string, shard: Shard, of: Operand, parts: readonly Tensor[]): Tensor {
  const axes = of.dims.flatMap((names, i): (string | number)[] => (names.length === 0 ? [of.shape[i]!] : [...names]));
  const at = axes.indexOf(factor);
  const lengths = axes.map((axis) => (typeof axis === "number" ? axis : shard.range(axis).size));
  const spread = parts.map((part) => {
    const others = sizeOf(lengths.filter((_, i) => i !== at));
    return part.reshape(lengths.map((length, i) => (i === at && others > 0 ? part.size / others : length)));
  });
  return concat(spread, at).reshape(shard.shapeOf(of));
}

/** Says what is wrong with the rule of an op for a case, or nothing. */
export function findShardingError(op: OpDefinition, of: Case): string | undefined {
  const rule = ruleOfCase(op, of);
  const names = splittable(rule);
  const choices = names.map((name) => [name]);
  if (names.length > 2) choices.push([names[0]!, names.at(-1)!]);
  else if (names.length === 2) choices.push(names);
  if (choices.length === 0) return undefined;
  const [values, gradients] = [valuesOf(op, of), gradientsOf(op, of)];
  for (const factors of choices)
    for (const check of isSmooth(rule, factors) ? [values, gradients] : [values]) {
      const found = check((...args) => callSplit(rule, factors, ...args));
      if (found) return `${formatRule(rule)} split along ${factors.join(" and ")}: ${found}`;
    }
  return undefined;
}

/** Whether the parts are put together without a maximum, which shares a cotangent among equals in its parts otherwise than as a whole. */
const isSmooth = ({ factors }: Rule, names: readonly string[]): boolean =>
  names.every((name) => ["free", "sum"].includes(factors[name]!.split));

type Call = typeof callOp;
/** Says what is wrong with another way to call the op, or nothing. */
type Check = (call: Call) => string | undefined;

const sumsInAnotherOrder = (size: number) => forSize(widen(limitOf("op", "float32"), 2), size);

/** The results, in float64; those that are exact, or moved from an input, bit for bit. */
function valuesOf(op: OpDefinition, of: Case): Check {
  const names = orderedNames(op, of);
  const byName = fillCase(op.name, of);
  const given = names.map((name) => byName[name]!);
  const avals = outputAvals(op, of);
  const isBitwise = avals.map(({ dtype }) => isExact(dtype) || op.moves !== undefined);
  const run = (call: Call, wide: boolean): HostArray[] => {
    if (isBitwise.every((bitwise) => bitwise === wide)) return [];
    const f = (...xs: Tensor[]) => call(op, Object.fromEntries(names.map((name, i) => [name, xs[i]!])), of.params);
    return oracle(f, given, { wide });
  };
  const [wide, rounded] = [run(callOp, true), run(callOp, false)];
  return (call) => {
    const [splitWide, splitRounded] = [run(call, true), run(call, false)];
    for (const [i, name] of op.outputs.entries()) {
      const found = isBitwise[i]
        ? findCodeDifference(splitRounded[i]!, rounded[i]!)
        : findDifference(splitWide[i]!, wide[i]!, sumsInAnotherOrder(wide[i]!.data.length));
      if (found) return `${name}: ${found}`;
    }
    return undefined;
  };
}

/** The gradients with normal cotangents, in float64. */
function gradientsOf(op: OpDefinition, of: Case): Check {
  const gradient = gradientOfCase(op, of);
  if (!gradient) return () => undefined;
  const byName = fillCase(op.name, of);
  const cotangents = drawCotangents(gradient.avals, `${op.name}/${of.name}`);
  const given = [...cotangents, ...orderedNames(op, of).map((name) => byName[name]!)];
  const whole = oracle(gradient.pull, given);
  return (call) => {
    const split = oracle(gradientOfCase(op, of, undefined, call)!.pull, given);
    for (const [i, name] of gradient.wrt.entries()) {
      const found = findDifference(split[i]!, whole[i]!, sumsInAnotherOrder(whole[i]!.data.length));
      if (found) return `gradient of ${name}: ${found}`;
    }
    return undefined;
  };
}

const isSmall = (op: OpDefinition, of: Case): boolean =>
  [...Object.values(of.inputs), ...outputAvals(op, of)].every(({ shape }) => sizeOf(shape) <= MOST_ELEMENTS);

/** For marks, which have no cases because programs see through them. */
const MARKED = new CaseBuilder().case("a matrix", { x: new CaseBuilder().normal([3, 4]) });

/** Declares one test for every op: its rule fits every case, also those of benchmarks, and splits the small ones rightly. */
export function testSharding({
  ops = [...definedOps().keys()],
  indivisible = [],
}: Pick<BackendSuiteOptions, "ops"> & {
  /** Names of the ops of which nothing may be split. Any other must split some case. */
  readonly indivisible?: readonly string[];
} = {}): void {
  describe("sharding rules", () => {
    test.each(ops.map((name) => [name]))("%s", (name) => {
      const op = findOp(name);
      const own = op.cases?.(new CaseBuilder()) ?? [];
      const cases = own.length > 0 ? own : [MARKED];
      let count = 0;
      for (const of of cases) {
        const names = splittable(ruleOfCase(op, of));
        if (of.bench || !isSmall(op, of)) continue;
        count += names.length;
        const found = findShardingError(op, of);
        if (found) expect.fail(`${of.name}: ${found}`);
      }
      if (indivisible.includes(name)) expect(count, "factors that may be split").toBe(0);
      else expect(count, "factors that may be split").toBeGreaterThan(0);
    });
  });
}
