import {
  type Defaults,
  type DType,
  expectInteger,
  expectTensor,
  fail,
  type Tensor,
  take,
  type WithDefaults,
  withDefaults,
} from "@te/tensor";
import { checkParameterDType } from "./dense.js";
import { type Initializer, varianceScaling } from "./initializers.js";
import { type Axes, Module } from "./module.js";

/** Options of {@link Embed}. */
export interface EmbedOptions {
  /** Rows of the table. Required. */
  numEmbeddings: number;
  /** Length of a row. Required. */
  features: number;
  /** Default varianceScaling(1, "fan_in", "normal") with the table's rows as outputs. */
  embeddingInit?: Initializer;
  /** Logical axes of the table. Default ["vocab", "embed"]. */
  embeddingAxes?: Axes;
  /** Dtype of the table: float32 (default), bfloat16 or float16. */
  dtype?: DType;
  /** Dtype of the result. Default that of the table. */
  outputDtype?: DType;
  /** Name among the parent's variables. */
  name?: string;
}

/**
 * A table of vectors. `call(ids)` with integers [...] gives [..., features] in outputDtype. Parameter: embedding
 * [numEmbeddings, features].
 *
 * Throws TeError: "option" for sizes that are not positive integers, "dtype" for ids that are not integers.
 */
export class Embed extends Module {
  static readonly defaults = {
    numEmbeddings: undefined,
    features: undefined,
    embeddingInit: varianceScaling(1, "fan_in", "normal", { outAxis: 0 }),
    embeddingAxes: ["vocab", "embed"],
    dtype: "float32",
    outputDtype: undefined,
    name: undefined,
  } satisfies Defaults<EmbedOptions>;

  private readonly options: WithDefaults<EmbedOptions, typeof Embed.defaults>;
  protected override readonly callOptions = {};

  constructor(options: EmbedOptions) {
    super(options);
    this.options = withDefaults("Embed", options, Embed.defaults);
    checkParameterDType("Embed", this.options.dtype);
    const { numEmbeddings, features } = options;
    for (const [name, size] of Object.entries({ numEmbeddings, features }))
      if (!Number.isSafeInteger(size) || size < 1)
        fail("option", "Embed", `${name} must be an integer of at least 1`, size);
  }

  call(ids: Tensor): Tensor {
    const { numEmbeddings, features, embeddingInit, embeddingAxes, dtype, outputDtype } = this.options;
    expectTensor("Embed", { ids });
    expectInteger("Embed", { ids });
    const table = this.param("embedding", embeddingInit, [numEmbeddings, features], { dtype, axes: embeddingAxes });
    return take(table, ids, { axis: 0 }).astype(outputDtype ?? dtype);
  }
}
