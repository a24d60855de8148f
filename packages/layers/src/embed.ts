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
  /** Dtype of the table at init and of the result: float32, bfloat16 or float16. Default float32, and the table's for the result. */
  dtype?: DType;
  /** Dtype of the result, where it is not `dtype`. */
  outputDtype?: DType;
  /** Name among the parent's variables. */
  name?: string;
}

/**
 * A table of vectors. `call(ids)` with integers [...] gives [..., features]. Parameter: embedding [numEmbeddings, features].
 *
 * The result has outputDtype, else the dtype given to the constructor, else that of the table, so that 16-bit weights give
 * 16-bit activations: every layer after this one computes in the dtype of its input, whatever the dtype of its parameters.
 *
 * Throws TeError: "option" for sizes that are not positive integers, "dtype" for ids that are not integers.
 */
export class Embed extends Module {
  static override readonly name: string = "Embed";
  static readonly defaults = {
    numEmbeddings: undefined,
    features: undefined,
    embeddingInit: varianceScaling(1, "fan_in", "normal", { outAxis: 0 }),
    embeddingAxes: ["vocab", "embed"],
    dtype: undefined,
    outputDtype: undefined,
    name: undefined,
  } satisfies Defaults<EmbedOptions>;

  private readonly options: WithDefaults<EmbedOptions, typeof Embed.defaults>;
  protected override readonly callOptions = {};

  constructor(options: EmbedOptions) {
    super(options);
    this.options = withDefaults("Embed", options, Embed.defaults);
    const { numEmbeddings, features, dtype } = options;
    if (dtype !== undefined) checkParameterDType("Embed", dtype);
    for (const [name, size] of Object.entries({ numEmbeddings, features }))
      if (!Number.isSafeInteger(size) || size < 1)
        fail("option", "Embed", `${name} must be an integer of at least 1`, size);
  }

  call(ids: Tensor): Tensor {
    const { numEmbeddings, features, embeddingInit, embeddingAxes, dtype, outputDtype } = this.options;
    expectTensor("Embed", { ids });
    expectInteger("Embed", { ids });
    const table = this.param("embedding", embeddingInit, [numEmbeddings, features], {
      ...(dtype && { dtype }),
      axes: embeddingAxes,
    });
    return take(table, ids, { axis: 0 }).astype(outputDtype ?? dtype ?? table.dtype);
  }
}
