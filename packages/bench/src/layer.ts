/** A pre-LN GELU TransformerLayer, forward and forward + backward, against the machine's best product. */
import { DelayedScaling, fp8Autocast } from "@te/fp8";
import { type DType, jit, makeProgram, random, type Tensor, tree, valueAndGrad } from "@te/tensor";
import type { Program } from "@te/tensor/backend";
import { TransformerLayer } from "@te/transformer";
import { type Machine, machine, Peak } from "./machine.js";
import { best, disposeAll, median, round, settle, timeOnce } from "./timing.js";

/** Sizes of a layer and its input. */
export interface Shape {
  readonly batch: number;
  readonly sequence: number;
  readonly hidden: number;
  readonly mlp: number;
  readonly heads: number;
}

export const SHAPE: Shape = { batch: 8, sequence: 256, hidden: 512, mlp: 2048, heads: 8 };

export interface LayerRow {
  readonly dtype: "float32" | "bfloat16" | "fp8";
  readonly forwardMs: number;
  readonly forwardBackwardMs: number;
  /** Forward + backward. */
  readonly gflops: number;
  readonly peakShare: number;
  /**
   * The median over the rounds of the same share, each against the best product of its own round: on a shared machine a
   * product finds a quiet moment sooner than a whole step does.
   */
  readonly medianShare: number;
}

export interface LayerReport {
  readonly machine: Machine;
  readonly shape: Shape;
  readonly gflop: number;
  readonly peak: { readonly float32: number; readonly bfloat16: number };
  readonly rows: readonly LayerRow[];
}

/**
 * Operations of one forward + backward pass in GFLOP: three products per forward product (itself, dx, dw), and attention's
 * two S×S products and their gradients, counted without regard to the causal mask.
 */
export function layerGflop({ batch, sequence, hidden, mlp }: Shape): number {
  const weights = 4 * hidden * hidden + 2 * hidden * mlp;
  const dense = 2 * batch * sequence * weights;
  const attention = 2 * 2 * batch * sequence * sequence * hidden;
  return (3 * (dense + attention)) / 1e9;
}

export const DTYPES = ["float32", "bfloat16", "fp8"] as const;

/** The dtype of the product that a row is held against. */
const productOf = (dtype: LayerRow["dtype"]): "float32" | "bfloat16" => (dtype === "float32" ? dtype : "bfloat16");

/** A layer to time. */
export interface Subject {
  readonly dtype: LayerRow["dtype"];
  readonly forward: () => unknown;
  readonly forwardBackward: () => unknown;
  /** The program of forwardBackward, before a device sees it. */
  readonly program: () => Program;
}

/** The layer that benches time. */
export const layerOf = ({ hidden, mlp, heads }: Shape, dtype: DType): TransformerLayer =>
  new TransformerLayer({
    hiddenSize: hidden,
    mlpHiddenSize: mlp,
    numAttentionHeads: heads,
    hiddenDropout: 0,
    attentionDropout: 0,
    intermediateDropout: 0,
    enableRelativeEmbedding: false,
    mlpActivations: ["gelu"],
    dtype,
  });

/** The layer as it runs on the device of now. */
export function subject(dtype: LayerRow["dtype"], shape: Shape): Subject {
  const { batch, sequence, hidden } = shape;
  const type: DType = dtype === "float32" ? "float32" : "bfloat16";
  const layer = layerOf(shape, type);
  const recipe = new DelayedScaling({ amaxHistoryLen: 16 });
  const inContext = <T>(body: () => T): T => fp8Autocast({ enabled: dtype === "fp8", fp8Recipe: recipe }, body);
  const draw = (seed: number): Tensor => random.normal(random.key(seed), [batch, sequence, hidden], { dtype: type });
  const [x, dy] = [draw(1), draw(2)];
  const { params_axes: _, ...variables } = inContext(() => layer.init(random.key(0), x));
  const apply = (v: typeof variables, input: Tensor): Tensor => layer.apply(v, input, { deterministic: true });
  const loss = (v: typeof variables, input: Tensor, upstream: Tensor): Tensor =>
    apply(v, input).mul(upstream).astype("float32").sum();
  const forward = jit(apply);
  const differentiate = valueAndGrad(loss, { argnums: [0, 1] });
  const backward = jit(differentiate);
  return {
    dtype,
    forward: () => inContext(() => forward(variables, x)),
    forwardBackward: () => inContext(() => backward(variables, x, dy)),
    program: () => inContext(() => makeProgram(differentiate)(variables, x, dy)),
  };
}

/** Runs once and insists on finite, non-zero gradients before anything is timed. */
async function validate({ dtype, forwardBackward }: Subject): Promise<void> {
  const results = forwardBackward() as [Tensor, [{ params: unknown }, Tensor]];
  for (const leaf of tree.leaves(results[1][0].params)) {
    const values = await leaf.values();
    if (!values.every(Number.isFinite) || values.every((v) => v === 0))
      throw new Error(`layer bench: ${dtype} gave a bad gradient`);
  }
  await settle(results);
  disposeAll(results);
}

/** Of a round: a step is as long as ten products, so that it needs more tries to find the machine quiet. */
const STEPS = 3;

export async function benchLayer({ rounds = 20, log = (_: string) => {} } = {}): Promise<LayerReport> {
  const subjects = DTYPES.map((dtype) => subject(dtype, SHAPE));
  for (const s of subjects) await validate(s);
  const peak = new Peak();
  const gflop = layerGflop(SHAPE);
  const samples = subjects.map(() => ({ forward: [] as number[], both: [] as number[], shares: [] as number[] }));
  for (let i = 0; i < rounds; i++) {
    peak.measure(0.4);
    for (const [k, { dtype, forward, forwardBackward }] of subjects.entries()) {
      const { forward: forwards, both, shares } = samples[k]!;
      forwards.push(await timeOnce(forward));
      for (let step = 0; step < STEPS; step++) {
        const ms = await timeOnce(forwardBackward);
        both.push(ms);
        shares.push(((gflop / ms) * 1e3) / peak.last[productOf(dtype)]);
      }
    }
    log(`round ${i + 1} of ${rounds}`);
  }
  const products = peak.products;
  const rows = subjects.map(({ dtype }, k): LayerRow => {
    const forwardBackwardMs = best(samples[k]!.both);
    const gflops = (gflop / forwardBackwardMs) * 1e3;
    return {
      dtype,
      forwardMs: round(best(samples[k]!.forward), 4),
      forwardBackwardMs: round(forwardBackwardMs, 4),
      gflops: round(gflops, 4),
      peakShare: round(gflops / products[productOf(dtype)]),
      medianShare: round(median(samples[k]!.shares)),
    };
  });
  return {
    machine: machine(),
    shape: SHAPE,
    gflop: round(gflop, 4),
    peak: { float32: round(products.float32, 4), bfloat16: round(products.bfloat16, 4) },
    rows,
  };
}
