import { TeError, type Tensor } from "@te/tensor";
import { Module } from "./module.js";
import { dropout } from "./ops/dropout.js";

export interface DropoutOptions {
  /** Probability of dropping an element, in [0, 1]. */
  rate: number;
  /** Axes along which one draw serves all elements; negative axes count from the end. */
  broadcastDims?: readonly number[];
  /** Random stream. Default "dropout". */
  rngName?: string;
  name?: string;
}

/** `call(x, { deterministic })`: x with elements dropped and the rest scaled by 1 / (1 - rate); x itself when deterministic. */
export class Dropout extends Module {
  constructor(private readonly options: DropoutOptions) {
    super(options);
    const { rate } = options;
    if (!(rate >= 0 && rate <= 1)) throw new TeError("option", `Dropout: rate must be in [0, 1], got ${rate}.`);
  }

  call(x: Tensor, { deterministic = false }: { deterministic?: boolean } = {}): Tensor {
    const { rate, broadcastDims = [], rngName = "dropout" } = this.options;
    if (deterministic || rate === 0) return x;
    const dims = broadcastDims.map((d) => (d < 0 ? d + x.rank : d));
    return dropout(x, this.makeRng(rngName), { rate, broadcastDims: dims });
  }
}
