/** One part of a call that is split: which stretch of every factor it holds, and what it computes. */

import { applyOp } from "../apply-op.js";
import { formatAval, sameShape } from "../aval.js";
import { fail } from "../errors.js";
import { expectObject, expectString } from "../expect.js";
import { inputNames, nameInputs, nameOutputs, type OpDefinition, type Params } from "../op.js";
import { checkInputs, completeParams, expectDefined } from "../op-check.js";
import { checkPlace, type Place } from "../ops/draw.js";
import { reshape } from "../ops/reshape.js";
import { slice } from "../ops/slice.js";
import type { Tensor } from "../tensor.js";
import { checkOperand, checkRule, type Operand, type Rule } from "./rule.js";

/** A stretch of a factor. */
export interface Range {
  readonly start: number;
  readonly size: number;
}

/** A part of a call. Factors that are not named are whole in it. */
export class Shard {
  /** Throws unless every range lies in a factor of the rule that may be split. */
  constructor(
    readonly op: OpDefinition,
    readonly rule: Rule,
    readonly ranges: Readonly<Record<string, Range>>,
  ) {
    expectDefined("Shard", op);
    checkRule("Shard", rule);
    expectObject("Shard", { ranges });
    expectObject("Shard", ranges as Readonly<Record<string, unknown>>);
    for (const [name, { start, size }] of Object.entries(ranges)) {
      const factor = Object.hasOwn(rule.factors, name) ? rule.factors[name]! : undefined;
      if (!factor || factor.split === "whole")
        fail("option", op.name, "a shard must split factors that may be split", name, `Factors: ${this.names()}.`);
      if (![start, size].every(Number.isSafeInteger) || start < 0 || size < 0 || start + size > factor.size)
        fail("option", op.name, `start and size of a part of ${name} must lie in [0, ${factor.size}]`, [start, size]);
    }
  }

  private names(): string {
    return Object.keys(this.rule.factors).join(", ");
  }

  /** The stretch of a factor that the shard holds. */
  range(factor: string): Range {
    expectString("Shard.range", { factor });
    if (!Object.hasOwn(this.rule.factors, factor))
      fail("option", this.op.name, "there is no such factor", factor, `Factors: ${this.names()}.`);
    return this.ranges[factor] ?? { start: 0, size: this.rule.factors[factor]!.size };
  }

  /** An output by name. */
  output(name: string): Operand {
    const at = this.op.outputs.indexOf(name);
    return this.rule.outputs[at] ?? fail("option", this.op.name, "there is no such output", name);
  }

  /** The shape of the shard's part of an input or output. */
  shapeOf(of: Operand): number[] {
    checkOperand("Shard.shapeOf", of);
    return of.shape.map((length, i) =>
      of.dims[i]!.length === 0 ? length : of.dims[i]!.reduce((n, factor) => n * this.range(factor).size, 1),
    );
  }

  /**
   * Where the shard's part of an input or output lies in the whole, or in what the whole is a part of. Throws where a
   * dimension is not split in one piece.
   */
  placeOf(operand: Operand, within: Place = { of: [], start: [] }): Place {
    checkOperand("Shard.placeOf", operand);
    checkPlace("Shard.placeOf", operand.shape, within);
    const start = operand.dims.map((factors, i) => this.#startOf(factors) + (within.start[i] ?? 0));
    return { of: within.of.length > 0 ? within.of : operand.shape, start };
  }

  /** The first index along a dimension that is a product of factors. */
  #startOf(factors: readonly string[]): number {
    let [start, step, isWhole] = [0, 1, true];
    for (const name of [...factors].reverse()) {
      const [range, { size }] = [this.range(name), this.rule.factors[name]!];
      if (!isWhole && range.size !== 1)
        fail("option", this.op.name, "a part must be one piece of each dimension", factors.join(" "));
      start += range.start * step;
      step *= size;
      isWhole &&= range.size === size;
    }
    return start;
  }

  /** The shard's part of x, which is an input or output as a whole. */
  part(of: Operand, x: Tensor): Tensor {
    const shape = this.shapeOf(of);
    const axes = of.shape.flatMap((length, i) =>
      of.dims[i]!.length === 0
        ? [{ of: length, start: 0, size: length }]
        : of.dims[i]!.map((factor) => ({ of: this.rule.factors[factor]!.size, ...this.range(factor) })),
    );
    const split = reshape(
      x,
      axes.map((axis) => axis.of),
    );
    const taken = slice(
      split,
      axes.map(({ start }) => start),
      axes.map(({ start, size }) => start + size),
    );
    return reshape(taken, shape);
  }
}

/**
 * What a shard computes from its parts of the inputs, in wire order: the op itself, or its `onShard`. Throws TeError where
 * the results are not of the shard's shapes.
 */
export function applyShard(shard: Shard, inputs: readonly (Tensor | undefined)[], params?: Params): Tensor[] {
  if (!(shard instanceof Shard)) fail("option", "applyShard", "shard must be a Shard", shard ?? String(shard));
  const { op, rule } = shard;
  checkInputs(op, inputs);
  const names = inputNames(op, inputs.length);
  const complete = completeParams(op, params);
  const itself = (given: Readonly<Record<string, Tensor | undefined>>, own: Params): Record<string, Tensor> =>
    nameOutputs(
      op,
      applyOp(
        op,
        names.map((name) => given[name]),
        own,
      ),
    );
  checkParts(shard, names, inputs, rule.inputs);
  const shared = Object.keys(shard.ranges).find((name) => rule.factors[name]!.split === "together");
  if (shared) fail("option", op.name, "a part of this factor is computed together with the others", shared);
  const named = op.onShard?.(nameInputs(op, inputs), complete, shard, itself);
  const outputs = named ? op.outputs.map((name) => named[name]!) : applyOp(op, inputs, complete);
  checkParts(shard, op.outputs, outputs, rule.outputs);
  return outputs;
}

/** Throws unless each tensor has the shape of the shard's part. */
export function checkParts(
  shard: Shard,
  names: readonly string[],
  tensors: readonly (Tensor | undefined)[],
  operands: readonly (Operand | undefined)[],
): void {
  operands.forEach((of, i) => {
    const [x, shape] = [tensors[i], of && shard.shapeOf(of)];
    if (shape ? x && sameShape(x.shape, shape) : !x) return;
    const rule = shape ? `${names[i]} of a shard must have shape [${shape}]` : `the rule was made without ${names[i]}`;
    fail("state", shard.op.name, rule, x ? formatAval(x) : "none");
  });
}
