/** The module RelativePositionBiases of T5, and the buckets that it sorts distances into. */
import { type Axes, type Initializer, Module, varianceScaling } from "@te/layers";
import { type DType, iota, type Tensor, tensor } from "@te/tensor";
import { type Defaults, fail, type WithDefaults, withDefaults } from "@te/tensor/op";
import { parseHeads } from "./attention-options.js";
import { oneOf } from "./deprecated.js";

/** Options of {@link RelativePositionBiases}. */
export interface RelativePositionBiasesOptions {
  /** Number of distance buckets. Required. */
  numBuckets: number;
  /** Distances from here on share the last bucket. Required. */
  maxDistance: number;
  /** Number of heads. Required, under this name or as numHeads. */
  numAttentionHeads?: number;
  /** Another name of numAttentionHeads. */
  numHeads?: number;
  /** Default varianceScaling(1, "fan_in", "normal", { outAxis: 0 }). */
  embeddingInit?: Initializer;
  /** Logical axes of the parameter. Default ["heads", "relpos_buckets"]. */
  embeddingAxes?: Axes;
  /** Dtype of the parameter: float32 (default), bfloat16 or float16. */
  dtype?: DType;
  /** Name among the parent's variables. */
  name?: string;
}

/** Options of a call of {@link RelativePositionBiases}. */
export interface RelativePositionBiasesCallOptions {
  /** Keys after the query have buckets of their own. Default true. */
  bidirectional?: boolean;
}

/**
 * T5's relative position bias: a learned number per head and distance bucket.
 *
 * `call(queryLength, keyLength, { bidirectional })` gives [1, heads, queryLength, keyLength] in the dtype of its table. Parameter:
 * rel_embedding [heads, numBuckets]. Half of the buckets are for exact distances, the others grow logarithmically up to
 * maxDistance; bidirectional, one half is for keys after the query.
 *
 * Throws TeError "option" for sizes that are not positive integers, and for a maxDistance that leaves no room for the
 * logarithmic half.
 */
export class RelativePositionBiases extends Module {
  static override readonly name: string = "RelativePositionBiases";
  static readonly defaults = {
    numBuckets: undefined,
    maxDistance: undefined,
    numAttentionHeads: undefined,
    numHeads: undefined,
    embeddingInit: varianceScaling(1, "fan_in", "normal", { outAxis: 0 }),
    embeddingAxes: ["heads", "relpos_buckets"],
    dtype: "float32",
    name: undefined,
  } satisfies Defaults<RelativePositionBiasesOptions>;

  readonly numBuckets: number;
  readonly maxDistance: number;
  readonly numAttentionHeads: number;
  private readonly options: WithDefaults<RelativePositionBiasesOptions, typeof RelativePositionBiases.defaults>;
  protected override readonly callOptions = { bidirectional: true };

  constructor(options: RelativePositionBiasesOptions) {
    super(options);
    const fn = "RelativePositionBiases";
    this.options = withDefaults(fn, options, RelativePositionBiases.defaults);
    const { numBuckets, maxDistance, numHeads, numAttentionHeads } = this.options;
    const heads = oneOf(fn, ["numHeads", numHeads], ["numAttentionHeads", numAttentionHeads]);
    [this.numAttentionHeads] = parseHeads(fn, heads, null);
    this.numBuckets = numBuckets;
    this.maxDistance = maxDistance;
    for (const [field, value] of Object.entries({ numBuckets, maxDistance })) {
      if (!Number.isInteger(value) || value < 1) fail("option", fn, `${field} must be a positive integer`, value);
    }
  }

  call(
    queryLength: number,
    keyLength: number,
    { bidirectional = true }: RelativePositionBiasesCallOptions = {},
  ): Tensor {
    const { numBuckets, maxDistance, numAttentionHeads } = this;
    for (const [name, length] of Object.entries({ queryLength, keyLength })) {
      if (!Number.isSafeInteger(length) || length < 0)
        fail("option", "RelativePositionBiases", `${name} must be an integer of at least 0`, length ?? String(length));
    }
    if (queryLength * keyLength > 2 ** 31)
      fail("option", "RelativePositionBiases", "queryLength · keyLength may be at most 2^31", [queryLength, keyLength]);
    checkBuckets(numBuckets, maxDistance, bidirectional);
    const { embeddingInit, dtype, embeddingAxes: axes } = this.options;
    const table = this.param("rel_embedding", embeddingInit, [numAttentionHeads, numBuckets], { dtype, axes });
    // A table of all distances; the one of all pairs, which is as large as the biases of a head, is computed from it.
    const buckets = Int32Array.from({ length: Math.max(queryLength + keyLength - 1, 0) }, (_, i) =>
      relativeBucket(i - (queryLength - 1), numBuckets, maxDistance, bidirectional),
    );
    const pairs = [queryLength, keyLength];
    const distance = iota(pairs, 1, { dtype: "int32" }).sub(iota(pairs, 0, { dtype: "int32" }));
    const index = tensor(buckets).take(distance.add(queryLength - 1), { axis: 0 });
    return table.take(index, { axis: 1 }).expandDims(0);
  }
}

/** The logarithmic half needs room: maxDistance must exceed the distances that have buckets of their own. */
function checkBuckets(numBuckets: number, maxDistance: number, bidirectional: boolean): void {
  const exact = Math.floor((bidirectional ? Math.floor(numBuckets / 2) : numBuckets) / 2);
  if (exact < 1 || maxDistance <= exact) {
    const rule = `maxDistance must exceed the ${exact} distances that numBuckets = ${numBuckets} keeps exact`;
    fail("option", "RelativePositionBiases", rule, maxDistance, "Raise maxDistance or lower numBuckets.");
  }
}

const FLOAT32_EPSILON = 2 ** -23;

/**
 * The bucket of a distance (key position minus query position). With n = |distance| (or max(-distance, 0) in one
 * direction) and e exact buckets: n if n < e, else min(last, e + trunc(ln(n/e + eps) / ln(maxDistance/e) * (buckets - e))).
 */
export function relativeBucket(
  distance: number,
  numBuckets: number,
  maxDistance: number,
  bidirectional: boolean,
): number {
  const buckets = bidirectional ? Math.floor(numBuckets / 2) : numBuckets;
  const base = bidirectional && distance > 0 ? buckets : 0;
  const n = bidirectional ? Math.abs(distance) : Math.max(-distance, 0);
  const exact = Math.floor(buckets / 2);
  if (n < exact) return base + n;
  const f = Math.fround;
  const ratio = f(Math.log(f(f(n / exact) + FLOAT32_EPSILON)));
  const scaled = f(f(ratio / f(Math.log(maxDistance / exact))) * f(buckets - exact));
  return base + Math.min(buckets - 1, exact + Math.trunc(scaled));
}
