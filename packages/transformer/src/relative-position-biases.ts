import { type Axes, type Initializer, Module, varianceScaling } from "@te/layers";
import { type DType, TeError, type Tensor, tensor } from "@te/tensor";

export interface RelativePositionBiasesOptions {
  /** Number of distance buckets. */
  numBuckets: number;
  /** Distances from here on share the last bucket. */
  maxDistance: number;
  numAttentionHeads?: number;
  /** Another name of numAttentionHeads. */
  numHeads?: number;
  embeddingInit?: Initializer;
  embeddingAxes?: Axes;
  /** Dtype of the parameter and of the result. Default float32. */
  dtype?: DType;
  name?: string;
}

/**
 * T5's relative position bias: a learned number per head and distance bucket.
 *
 * `call(queryLength, keyLength, { bidirectional = true })` gives [1, heads, queryLength, keyLength] in `dtype`. Parameter:
 * rel_embedding [heads, numBuckets]. Half of the buckets are for exact distances, the others grow logarithmically up to
 * maxDistance; bidirectional, one half is for keys after the query.
 */
export class RelativePositionBiases extends Module {
  readonly numBuckets: number;
  readonly maxDistance: number;
  readonly numAttentionHeads: number;
  private readonly embeddingInit: Initializer;
  private readonly embeddingAxes: Axes;
  private readonly dtype: DType;

  constructor(options: RelativePositionBiasesOptions) {
    super(options);
    const heads = options.numAttentionHeads ?? options.numHeads;
    if (heads === undefined) throw new TeError("option", "RelativePositionBiases: numAttentionHeads is required.");
    this.numBuckets = options.numBuckets;
    this.maxDistance = options.maxDistance;
    this.numAttentionHeads = heads;
    this.embeddingInit = options.embeddingInit ?? varianceScaling(1, "fan_in", "normal", { outAxis: 0 });
    this.embeddingAxes = options.embeddingAxes ?? ["heads", "relpos_buckets"];
    this.dtype = options.dtype ?? "float32";
    for (const [field, value] of Object.entries({ numBuckets: this.numBuckets, numAttentionHeads: heads })) {
      if (!Number.isInteger(value) || value < 1) {
        throw new TeError("option", `RelativePositionBiases: ${field} must be a positive integer, got ${value}.`);
      }
    }
  }

  call(queryLength: number, keyLength: number, { bidirectional = true }: { bidirectional?: boolean } = {}): Tensor {
    const { numBuckets, maxDistance, numAttentionHeads } = this;
    checkBuckets(numBuckets, maxDistance, bidirectional);
    const table = this.param("rel_embedding", this.embeddingInit, [numAttentionHeads, numBuckets], {
      dtype: this.dtype,
      axes: this.embeddingAxes,
    });
    const buckets = new Int32Array(queryLength * keyLength);
    for (let i = 0; i < queryLength; i++) {
      for (let j = 0; j < keyLength; j++)
        buckets[i * keyLength + j] = relativeBucket(j - i, numBuckets, maxDistance, bidirectional);
    }
    const index = tensor(buckets, { shape: [queryLength, keyLength] });
    return table.take(index, { axis: 1 }).expandDims(0);
  }
}

/** The logarithmic half needs room: maxDistance must exceed the distances that have buckets of their own. */
function checkBuckets(numBuckets: number, maxDistance: number, bidirectional: boolean): void {
  const exact = Math.floor((bidirectional ? Math.floor(numBuckets / 2) : numBuckets) / 2);
  if (exact < 1 || maxDistance <= exact) {
    throw new TeError(
      "option",
      `RelativePositionBiases: maxDistance must exceed the ${exact} distances that numBuckets = ${numBuckets} keeps exact, got ${maxDistance}. Raise maxDistance or lower numBuckets.`,
    );
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
