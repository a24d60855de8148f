/** The module Embed: rows of a table by id, and the same table as the head of a model. */
import { type DType, dot, type Tensor, take } from "@te/tensor";
import {
  type Defaults,
  expectDType,
  expectInteger,
  expectTensor,
  FLOATS,
  fail,
  type WithDefaults,
  withDefaults,
} from "@te/tensor/op";
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
 * A table of vectors. `call(ids)` with integers [...] gives [..., features]; `attend(x)` is the head that shares it. Parameter:
 * embedding [numEmbeddings, features].
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
    const { numEmbeddings, features, dtype, outputDtype } = options;
    if (dtype !== undefined) checkParameterDType("Embed", dtype);
    if (outputDtype !== undefined && !FLOATS.includes(outputDtype))
      fail("dtype", "Embed", `outputDtype must be ${FLOATS.join(" or ")}`, outputDtype);
    for (const [name, size] of Object.entries({ numEmbeddings, features }))
      if (!Number.isSafeInteger(size) || size < 1)
        fail("option", "Embed", `${name} must be an integer of at least 1`, size);
  }

  call(ids: Tensor): Tensor {
    const { dtype, outputDtype } = this.options;
    expectTensor("Embed", { ids });
    expectInteger("Embed", { ids });
    const table = this.table();
    return take(table, ids, { axis: 0 }).astype(outputDtype ?? dtype ?? table.dtype);
  }

  /**
   * x · tableᵀ: float [..., features] → [..., numEmbeddings] in the dtype of x. A head that shares its weights with the
   * embedding, called like a submodule from the call of the parent.
   */
  attend(x: Tensor): Tensor {
    return this.enter(() => {
      const { features } = this.options;
      expectTensor("Embed.attend", { x });
      expectDType("Embed.attend", { x }, ...FLOATS);
      if (x.shape.at(-1) !== features)
        fail("shape", "Embed.attend", `x must have ${features} features as last axis`, x);
      return dot(x, this.table().astype(x.dtype), { lhsContract: [-1], rhsContract: [1], dtype: x.dtype });
    });
  }

  private table(): Tensor {
    const { numEmbeddings, features, embeddingInit, embeddingAxes, dtype } = this.options;
    const shape = [numEmbeddings, features];
    return this.param("embedding", embeddingInit, shape, { ...(dtype && { dtype }), axes: embeddingAxes });
  }
}
