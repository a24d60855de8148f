/** One part of a call that is split: which stretch of every factor it holds, and what it computes. */

import { applyOp } from "../apply-op.js";
import { formatAval, sameShape } from "../aval.js";
import { fail } from "../errors.js";
import { inputNames, nameInputs, nameOutputs, type OpDefinition, type Params } from "../op.js";
import { completeParams } from "../op-check.js";
import { reshape } from "../ops/reshape.js";
import { slice } from "../ops/slice.js";
import type { Tensor } from "../tensor.js";
import type { Operand, Rule } from "./rule.js";

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
    for (const [name, { start, size }] of Object.entries(ranges)) {
      const factor = Object.hasOwn(rule.factors, name) ? rule.factors[name]! : undefined;
      if (!factor || factor.split === "whole")
        fail("option", op.name, "a shard must split factors that may be split", name, `Factors: ${this.names()}.`);
      if (![start, size].every(Number.isSafeInteger) || start < 0 || size < 0 || start + size > factor.size)
        fail("option", op.name, `a part of ${name} must lie in [0, ${factor.size})`, [start, start + size]);
    }
  }

  private names(): string {
    return Object.keys(this.rule.factors).join(", ");
  }

  /** The stretch of a factor that the shard holds. */
  range(factor: string): Range {
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
  shapeOf({ shape, dims }: Operand): number[] {
    return shape.map((length, i) =>
      dims[i]!.length === 0 ? length : dims[i]!.reduce((n, factor) => n * this.range(factor).size, 1),
    );
  }

  /** The shard's part of x, which is an input or output as a whole. */
  part(of: Operand, x: Tensor): Tensor {
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
    return reshape(taken, this.shapeOf(of));
  }
}

/**
 * What a shard computes from its parts of the inputs, in wire order: the op itself, or its `onShard`. Throws TeError where
 * the results are not of the shard's shapes.
 */
export function applyShard(shard: Shard, inputs: readonly (Tensor | undefined)[], params?: Params): Tensor[] {
  const { op } = shard;
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
  const named = op.onShard?.(nameInputs(op, inputs), complete, shard, itself);
  const outputs = named ? op.outputs.map((name) => named[name]!) : applyOp(op, inputs, complete);
  outputs.forEach((out, i) => {
    const shape = shard.shapeOf(shard.rule.outputs[i]!);
    if (!out || !sameShape(out.shape, shape))
      fail("state", op.name, `${op.outputs[i]} of a shard must have shape [${shape}]`, out && formatAval(out));
  });
  return outputs;
}
