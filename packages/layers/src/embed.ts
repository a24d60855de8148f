import { type DType, type Tensor, take } from "@te/tensor";
import { type Initializer, varianceScaling } from "./initializers.js";
import { type Axes, Module } from "./module.js";

export interface EmbedOptions {
  numEmbeddings: number;
  features: number;
  /** Default varianceScaling(1, "fan_in", "normal") with the table's rows as outputs. */
  embeddingInit?: Initializer;
  embeddingAxes?: Axes;
  /** Dtype of the table. Default float32. */
  dtype?: DType;
  /** Dtype of the result. Default that of the table. */
  outputDtype?: DType;
  name?: string;
}

/** A table of vectors. `call(ids)` with int32 [...] gives [..., features]. Parameter: embedding [numEmbeddings, features]. */
export class Embed extends Module {
  constructor(private readonly options: EmbedOptions) {
    super(options);
  }

  call(ids: Tensor): Tensor {
    const {
      numEmbeddings,
      features,
      embeddingInit,
      embeddingAxes = ["vocab", "embed"],
      dtype = "float32",
      outputDtype,
    } = this.options;
    const init = embeddingInit ?? varianceScaling(1, "fan_in", "normal", { outAxis: 0 });
    const table = this.param("embedding", init, [numEmbeddings, features], { dtype, axes: embeddingAxes });
    return take(table, ids, { axis: 0 }).astype(outputDtype ?? dtype);
  }
}
