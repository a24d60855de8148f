/** The module Dropout, and the check of rates that layers with dropout share. */
import type { Tensor } from "@te/tensor";
import { type Defaults, expectString, expectTensor, fail, type WithDefaults, withDefaults } from "@te/tensor/op";
import { Module } from "./module.js";
import { checkName } from "./names.js";
import { dropout } from "./ops/dropout.js";

/** Options of {@link Dropout}. */
export interface DropoutOptions {
  /** Probability of dropping an element, in [0, 1]. Required. */
  rate: number;
  /** Axes along which one draw serves all elements; negative axes count from the end. Default []. */
  broadcastDims?: readonly number[];
  /** Random stream. Default "dropout". */
  rngName?: string;
  /** Name among the parent's variables. */
  name?: string;
}

/** Options of a call that may drop elements. */
export interface DropoutCallOptions {
  /** No dropout. Default false. */
  deterministic?: boolean;
}

/** Throws unless the rate, option `name` of `fn`, is a probability. */
export function checkRate(fn: string, name: string, rate: number): void {
  expectString("checkRate", { name });
  if (typeof rate !== "number" || !(rate >= 0 && rate <= 1)) fail("option", fn, `${name} must be in [0, 1]`, rate);
}

/**
 * `call(x, { deterministic })`: x, float32, bfloat16 or float16 of any shape, with elements dropped and the rest scaled by
 * 1 / (1 - rate); x itself when deterministic or at rate 0, all zeros at rate 1. Has no variables; draws from `rngName`.
 *
 * Throws TeError: "option" for a rate outside of [0, 1], axes that x does not have, or a missing key of the stream.
 */
export class Dropout extends Module {
  static override readonly name: string = "Dropout";
  static readonly defaults = {
    rate: undefined,
    broadcastDims: [],
    rngName: "dropout",
    name: undefined,
  } satisfies Defaults<DropoutOptions>;

  private readonly options: WithDefaults<DropoutOptions, typeof Dropout.defaults>;
  protected override readonly callOptions = { deterministic: false };

  constructor(options: DropoutOptions) {
    super(options);
    this.options = withDefaults("Dropout", options, Dropout.defaults);
    checkRate("Dropout", "rate", options.rate);
    checkName("Dropout", "rngName", this.options.rngName);
  }

  call(x: Tensor, { deterministic = false }: DropoutCallOptions = {}): Tensor {
    expectTensor("Dropout", { x });
    const { rate, broadcastDims, rngName } = this.options;
    if (deterministic || rate === 0) return x;
    const dims = broadcastDims.map((d) => (d < 0 ? d + x.rank : d));
    return dropout(x, this.makeRng(rngName), { rate, broadcastDims: dims });
  }
}
