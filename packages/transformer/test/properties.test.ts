/** Random options of the layer: jit equals eager, every device equals the reference, sequence-first equals batch-first. */

import { fc, test } from "@fast-check/vitest";
import type { VariableTree } from "@te/layers";
import { concat, jit, random, setDevice, type Tensor, tree, valueAndGrad } from "@te/tensor";
import { findBitDifference, findDifference, limitOf, maskOf, normals, perturbed, presentDevices } from "@te/testkit";
import { afterAll, describe, expect } from "vitest";
import { TransformerLayer, type TransformerLayerOptions, TransformerLayerType } from "../src/index.js";

const maskTypes = [
  "no_mask",
  "padding",
  "causal",
  "padding_causal",
  "causal_bottom_right",
  "padding_causal_bottom_right",
];
const activations = [
  ["gelu"],
  ["relu"],
  ["silu", "linear"],
  ["quick_gelu"],
  ["squared_relu", "linear"],
  ["relu", "relu"],
];

const anyOptions = fc
  .record({
    heads: fc.constantFrom(1, 2, 4),
    group: fc.constantFrom(1, 2, 4),
    layernormType: fc.constantFrom("layernorm", "rmsnorm"),
    mlpActivations: fc.constantFrom(...activations),
    selfAttnMaskType: fc.constantFrom(...maskTypes),
    softmaxType: fc.constantFrom("vanilla", "off_by_one", "learnable"),
    windowSize: fc.constantFrom(null, [2, 0], [3, 1], [-1, 2]),
    rotaryPosEmbGroupMethod: fc.constantFrom("consecutive", "alternate"),
    lowRankAdaptationScope: fc.constantFrom("none", "all", "mlp", "exclude_mlp"),
    useBias: fc.boolean(),
    fuseQkvParams: fc.boolean(),
    scaleAttnLogits: fc.boolean(),
    enableRotaryPosEmb: fc.boolean(),
    enableRelativeEmbedding: fc.boolean(),
    applyResidualConnectionPostLayernorm: fc.boolean(),
    outputLayernorm: fc.boolean(),
    isDecoder: fc.boolean(),
  })
  .map(({ heads, group, isDecoder, ...rest }) => ({
    ...rest,
    hiddenSize: 16,
    mlpHiddenSize: 24,
    hiddenDropout: 0,
    attentionDropout: 0,
    lowRankAdaptationDim: 2,
    numAttentionHeads: heads,
    numGqaGroups: Math.min(heads, group),
    layerType: isDecoder ? TransformerLayerType.DECODER : TransformerLayerType.ENCODER,
  })) as fc.Arbitrary<TransformerLayerOptions>;

const anyCase = fc.record({
  options: anyOptions,
  batch: fc.integer({ min: 1, max: 3 }),
  length: fc.integer({ min: 1, max: 7 }),
  dropped: fc.integer({ min: 0, max: 3 }),
});
type Case = typeof anyCase extends fc.Arbitrary<infer T> ? T : never;

const swap = (t: Tensor): Tensor => t.transpose([1, 0, 2]);

function setUp({ options, batch, length, dropped }: Case, sequenceFirst = false) {
  const order = (t: Tensor): Tensor => (sequenceFirst ? swap(t) : t);
  const layer = new TransformerLayer({ ...options, transposeBatchSequence: sequenceFirst });
  const x = order(normals([batch, length, 16]));
  const encoded =
    options.layerType === TransformerLayerType.DECODER ? order(normals([batch, 4, 16], { seed: "encoded" })) : null;
  // The first key stays visible, so that no row of a causal mask is empty.
  const mask = maskOf([batch, length, length], (b, _, j) => j > 0 && j >= length - ((dropped + b) % 3));
  const cross = encoded && maskOf([batch, length, 4], (b, _, j) => j > b);
  const { params } = layer.init(random.key(5), x, encoded, mask, cross);
  const args = [encoded, mask, cross] as const;
  const call = (params: VariableTree, x: Tensor): Tensor => layer.apply({ params }, x, ...args);
  return { layer, args, call, x, order, params: perturbed(params) };
}

/** The result and all gradients. */
function gradients(
  { call, x, params }: ReturnType<typeof setUp>,
  dy: Tensor,
  run = <T>(f: T): T => f,
): Record<string, Tensor> {
  const loss = (p: typeof params, x: Tensor) => {
    const y = call(p, x);
    return [y.mul(dy).sum(), y] as const;
  };
  const f = valueAndGrad(loss, { argnums: [0, 1], hasAux: true });
  const [[, y], [dp, dx]] = run(f)(params, x);
  return Object.fromEntries(tree.leavesWithPath({ y, dx, dp }).map(({ path, leaf }) => [path.join("/"), leaf]));
}

// A gradient that cancels to nothing, such as that of a key bias, is rounding: the size of the largest one counts.
function expectClose(actual: Record<string, Tensor>, reference: Record<string, Tensor>): void {
  expect(Object.keys(actual)).toEqual(Object.keys(reference));
  const { n, x } = limitOf("layer", "float32");
  for (const [name, t] of Object.entries(reference)) {
    const found = findDifference(actual[name]!, t, { n: 4 * n, x });
    if (!found) continue;
    const largest = (of: Tensor): number => of.abs().max().dataSync()[0]! as number;
    const scale = Math.max(...Object.values(reference).map(largest));
    expect(largest(actual[name]!.sub(t)), `${name}: ${found}`).toBeLessThan(1e-6 * scale);
  }
}

const seed = Number(process.env.TE_TEST_SEED ?? 1);
const devices = presentDevices();
afterAll(() => setDevice("auto"));

describe("any options", () => {
  test.prop([anyCase], { numRuns: 12, seed })(
    "jit equals eager on every device, and every device the reference",
    (given) => {
      const results = devices.map((device) => {
        setDevice(device);
        const setting = setUp(given);
        const dy = normals(setting.x.shape, { seed: "dy" });
        const eager = gradients(setting, dy);
        const compiled = gradients(setting, dy, jit as never);
        for (const [name, t] of Object.entries(eager))
          expect(findBitDifference(compiled[name]!, t), `${name} on ${device}`).toBeUndefined();
        return eager;
      });
      for (const result of results.slice(1)) expectClose(result, results[0]!);
    },
  );

  test.prop([anyCase], { numRuns: 8, seed })("sequence-first equals batch-first", (given) => {
    setDevice("auto");
    const [first, second] = [setUp(given), setUp(given, true)];
    const dy = normals(first.x.shape, { seed: "dy" });
    const batchFirst = gradients(first, dy);
    const { y, dx, ...rest } = gradients(second, swap(dy));
    expectClose(
      { ...rest, dx: swap(dx!), y: swap(y!) },
      Object.fromEntries(
        ["dp", "dx", "y"].flatMap((start) =>
          Object.entries(batchFirst).filter(([name]) => name === start || name.startsWith(`${start}/`)),
        ),
      ),
    );
  });

  test.prop([anyCase], { numRuns: 8, seed })("a sample does not depend on the others", (given) => {
    fc.pre(given.batch > 1);
    setDevice("auto");
    const { call, x, params } = setUp(given);
    const other = x.add(normals(x.shape, { seed: "other" }).mul(maskFirst(x)));
    const [a, b] = [call(params, x), call(params, other)].map((y) => y.slice([0, 0, 0], [1, y.shape[1]!, 16]));
    expect(findDifference(b!, a!, { n: 1e-6, x: 1e-5 })).toBeUndefined();
  });

  test.prop([anyCase, fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 7, maxLength: 7 })], { numRuns: 10, seed })(
    "decoding in any chunks equals the whole sequence",
    (given, chunks) => {
      setDevice("auto");
      const causal = { no_mask: "causal", padding: "padding_causal" } as Record<string, string>;
      const type = given.options.selfAttnMaskType!;
      const options = { ...given.options, selfAttnMaskType: causal[type] ?? type };
      for (const sequenceFirst of [false, true]) {
        const { layer, args, x, order, params } = setUp({ ...given, options }, sequenceFirst);
        const whole = order(layer.apply({ params }, x, ...args));
        expectClose({ y: decode(layer, params, x, args, chunks, sequenceFirst) }, { y: whole });
      }
    },
  );
});

/** Feeds chunks of these lengths one after the other, as far as x goes. Batch-first results, joined. */
function decode(
  layer: TransformerLayer,
  params: VariableTree,
  x: Tensor,
  args: readonly [encoded: Tensor | null, mask: Tensor, cross: Tensor | null],
  chunks: number[],
  sequenceFirst: boolean,
) {
  const axis = sequenceFirst ? 0 : 1;
  const length = x.shape[axis]!;
  const rows = (t: Tensor, of: number, at: number, count: number): Tensor =>
    t.slice(
      t.shape.map((_, i) => (i === of ? at : 0)),
      t.shape.map((d, i) => (i === of ? at + count : d)),
    );
  const [encoded, mask, cross] = args;
  let cache = layer.init(random.key(0), x, ...args, { decode: true }).cache!;
  const parts: Tensor[] = [];
  for (let at = 0; at < length; ) {
    const count = Math.min(chunks[parts.length]!, length - at);
    const of = [encoded, rows(mask, 2, at, count), cross && rows(cross, 2, at, count)] as const;
    const call = { decode: true, mutable: ["cache"] } as const;
    const [y, changed] = layer.apply({ params, cache }, rows(x, axis, at, count), ...of, call);
    parts.push(sequenceFirst ? swap(y) : y);
    cache = changed.cache;
    at += count;
  }
  return concat(parts, 1);
}

/** 0 for the first sample, 1 for the others. */
const maskFirst = ({ shape: [batch] }: Tensor): Tensor =>
  maskOf([batch!, 1, 1], (b) => b > 0)
    .reshape([batch!, 1, 1])
    .astype("float32");
