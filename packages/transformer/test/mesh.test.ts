/** Layers, losses and optimizers over meshes: values and gradients are those of one device. */

import { Embed, LayerNormDenseGeneral, LayerNormMLP } from "@te/layers";
import { adamw, applyUpdates } from "@te/optim";
import {
  BATCH_AXES,
  HIDDEN_AXES,
  HIDDEN_TP_AXES,
  SEQLEN_AXES,
  W_FSDP_AXES,
  W_JOINED_AXES,
  W_NO_SHARD_AXES,
  W_TP_AXES,
} from "@te/sharding";
import { crossEntropy, type DType, jit, random, type Tensor, tensor, tree, valueAndGrad } from "@te/tensor";
import { errorN, judgeFunction, limitOf, maskOf, normals, onEachDevice, perturbed, type Row, widen } from "@te/testkit";
import { describe, expect, test, vi } from "vitest";
import { DotProductAttention, TransformerLayer, TransformerLayerType } from "../src/index.js";
import { PARALLELISMS, type Parallelism, under } from "./mesh-setup.js";

const [BATCH, LENGTH, HIDDEN] = [4, 16, 32];

/** Results of ranks are summed in another order than on one device. */
const limitFor = (row: (name: string) => Row) => (name: string, dtype: DType) => widen(limitOf(row(name), dtype), 2);
const layerRow = (name: string): Row =>
  name === "y" ? "layer" : name === "x" ? "layerInput" : name.endsWith("kernel") ? "layerWeight" : "layerNormParameter";

/** A module's call as a function of what it is judged by, with its inputs. Made where the mesh is in force. */
type Subject = (parallelism: Parallelism, dtype: DType) => readonly [(inputs: any) => Tensor, unknown];

const dense: Subject = (_, dtype) => {
  const layer = new LayerNormDenseGeneral({
    features: 64,
    useBias: true,
    dtype,
    kernelAxes: [W_FSDP_AXES, W_TP_AXES],
    biasAxes: [W_TP_AXES],
    scaleAxes: [W_NO_SHARD_AXES],
    lnBiasAxes: [W_NO_SHARD_AXES],
    layernormInputAxes: [BATCH_AXES, SEQLEN_AXES, HIDDEN_AXES],
    dotInputAxes: [BATCH_AXES, SEQLEN_AXES, HIDDEN_AXES],
  });
  const x = normals([BATCH, LENGTH, HIDDEN], { dtype });
  const { params } = layer.init(random.key(0), x) as { params: any };
  const call = ({ params, x }: { params: any; x: Tensor }): Tensor =>
    (layer.apply({ params }, x) as [Tensor, unknown])[0];
  return [call, { params: perturbed(params, dtype), x }];
};

const mlp =
  (activations: readonly string[]): Subject =>
  (_, dtype) => {
    const layer = new LayerNormMLP({
      intermediateDim: 64,
      activations,
      intermediateDropoutRate: 0,
      useBias: true,
      dtype,
      scaleAxes: [W_NO_SHARD_AXES],
      lnBiasAxes: [W_NO_SHARD_AXES],
      kernelAxes1: [W_FSDP_AXES, W_JOINED_AXES, W_TP_AXES],
      kernelAxes2: [W_TP_AXES, W_FSDP_AXES],
      biasAxes1: [W_JOINED_AXES, W_TP_AXES],
      biasAxes2: [W_NO_SHARD_AXES],
      layernormInputAxes: [BATCH_AXES, SEQLEN_AXES, HIDDEN_AXES],
      dot1InputAxes: [BATCH_AXES, SEQLEN_AXES, HIDDEN_AXES],
      dot2InputAxes: [BATCH_AXES, SEQLEN_AXES, HIDDEN_TP_AXES],
    });
    const x = normals([BATCH, LENGTH, HIDDEN], { dtype });
    const { params } = layer.init(random.key(0), x, { deterministic: true }) as { params: any };
    const call = ({ params, x }: { params: any; x: Tensor }): Tensor =>
      (layer.apply({ params }, x, { deterministic: true }) as [Tensor, unknown])[0];
    return [call, { params: perturbed(params, dtype), x }];
  };

const attention: Subject = (_, dtype) => {
  const layer = new DotProductAttention({
    headDim: 8,
    numAttentionHeads: 4,
    numGqaGroups: 2,
    attnMaskType: "causal",
    attnBiasType: "no_bias",
    attentionDropout: 0,
    dtype,
  });
  const shape = (heads: number) => [BATCH, LENGTH, heads, 8];
  const inputs = {
    q: normals(shape(4), { dtype, seed: "q" }),
    k: normals(shape(2), { dtype, seed: "k" }),
    v: normals(shape(2), { dtype, seed: "v" }),
  };
  return [({ q, k, v }) => layer.apply({}, q, k, v, null, null, { deterministic: true }) as Tensor, inputs];
};

const transformer =
  (type: TransformerLayerType): Subject =>
  ({ sequence }, dtype) => {
    const layer = new TransformerLayer({
      hiddenSize: HIDDEN,
      mlpHiddenSize: 64,
      numAttentionHeads: 4,
      hiddenDropout: 0,
      attentionDropout: 0,
      layerType: type,
      useBias: true,
      enableSequenceParallel: sequence,
      mlpActivations: ["silu", "linear"],
      dtype,
    });
    const isDecoder = type === TransformerLayerType.DECODER;
    const x = normals([BATCH, LENGTH, HIDDEN], { dtype });
    const encoded = isDecoder ? normals([BATCH, LENGTH, HIDDEN], { dtype, seed: "encoded" }) : null;
    const mask = maskOf([BATCH, LENGTH, LENGTH], (b, _, j) => j >= LENGTH - 3 * b);
    const masks: [Tensor | null, Tensor | null] = isDecoder ? [null, mask] : [mask, null];
    const { params } = layer.init(random.key(0), x, encoded, ...masks, { deterministic: true }) as { params: any };
    const call = ({ params, x }: { params: any; x: Tensor }): Tensor => {
      const y = layer.apply({ params }, x, encoded, ...masks, { deterministic: true }) as Tensor;
      return y.astype("float32").sub(x.astype("float32"));
    };
    return [call, { params: perturbed(params, dtype), x }];
  };

const SUBJECTS: readonly [string, Subject, (name: string) => Row][] = [
  ["LayerNormDenseGeneral", dense, layerRow],
  ["LayerNormMLP, gelu", mlp(["gelu"]), layerRow],
  ["LayerNormMLP, gelu and linear", mlp(["gelu", "linear"]), layerRow],
  ["attention", attention, (name) => (name === "y" || name === "q" ? "attention" : "attentionKeyValue")],
  ["an encoder layer", transformer(TransformerLayerType.ENCODER), layerRow],
  ["a decoder layer", transformer(TransformerLayerType.DECODER), layerRow],
];

onEachDevice((device) => {
  const dtypes = device === "reference" ? (["float32"] as const) : (["float32", "bfloat16"] as const);
  describe.each(PARALLELISMS.map((parallelism) => [parallelism.name, parallelism] as const))("%s", (_, parallelism) => {
    describe.each(SUBJECTS)("%s", (_, subject, row) => {
      test.each(dtypes)("%s", (dtype) => {
        under(parallelism, () => {
          const [f, inputs] = subject(parallelism, dtype);
          const given = (name: string, of: DType) => limitFor(row)(name, name === "y" ? dtype : of);
          judgeFunction(f, inputs, { limit: given });
        });
      });
    });
  });
});

describe.each(PARALLELISMS.map((parallelism) => [parallelism.name, parallelism] as const))(
  "training over %s",
  (_, parallelism) => {
    const tokens = tensor(
      Int32Array.from({ length: BATCH * LENGTH }, (_, i) => (i * 7 + 3) % 29),
      { shape: [BATCH, LENGTH] },
    );

    /** The losses of four steps, and the parameters at their start and end. `onStep` sees them with their state after each. */
    const train = (onStep: (params: any, state: any) => void = () => {}) => {
      const embed = new Embed({ numEmbeddings: 32, features: HIDDEN });
      const layer = new TransformerLayer({
        hiddenSize: HIDDEN,
        mlpHiddenSize: 64,
        numAttentionHeads: 4,
        hiddenDropout: 0.1,
        attentionDropout: 0.1,
        enableSequenceParallel: parallelism.sequence,
      });
      const x = normals([BATCH, LENGTH, HIDDEN]);
      let params: any = {
        embed: embed.init(random.key(1), tokens).params,
        layer: layer.init(random.key(2), x, null, null, null, { deterministic: true }).params,
      };
      const start = tree.map((leaf: Tensor) => leaf.dataSync(), params);
      const optimizer = adamw({ learningRate: 3e-2, eps: 1e-3 });
      let state = optimizer.init(params);
      const step = jit(
        (params: any, state: any, key: Tensor): any => {
          const lossOf = (params: any): Tensor => {
            const x = embed.apply({ params: params.embed }, tokens) as Tensor;
            const y = layer.apply({ params: params.layer }, x, null, null, null, { rngs: { dropout: key } }) as Tensor;
            const logits = y.matmul(params.embed.embedding.T);
            return crossEntropy(logits, tokens).mean();
          };
          const [loss, grads] = valueAndGrad(lossOf)(params);
          const [updates, next] = optimizer.update(grads, state, params);
          return [applyUpdates(params, updates), next, loss];
        },
        { donateArgnums: [0, 1] },
      );
      const losses: Tensor[] = [];
      for (let i = 0; i < 4; i++) {
        const [nextParams, nextState, loss] = step(params, state, random.key(10 + i));
        [params, state] = [nextParams, nextState];
        losses.push(loss);
        onStep(params, state);
      }
      return { losses, start, params };
    };

    test("the losses, the parameters and the bits of dropout are those of one device", async () => {
      const [split, whole] = [under(parallelism, () => train()), train()];
      expect(tree.leaves(split.start)).toEqual(tree.leaves(whole.start));
      const values = async ({ losses, params }: ReturnType<typeof train>) => ({
        losses: await Promise.all(losses.map((loss) => loss.item())),
        params: await Promise.all(tree.leaves(params).map((leaf) => (leaf as Tensor).values())),
      });
      const [a, b] = [await values(split), await values(whole)];
      a.losses.forEach((loss, i) => expect(Math.abs(loss - b.losses[i]!)).toBeLessThan(5e-6));
      expect(a.losses[3]).toBeLessThan(a.losses[0]!);
      // Without so large an epsilon, Adam makes the sign of a gradient near zero a whole step.
      a.params.forEach((param, i) => expect(errorN(param, b.params[i]!)).toBeLessThan(1e-5));
    });

    test("parameters stay where init put them, their state lies likewise, and nothing is partitioned anew", () => {
      const specsOf = (leaves: readonly unknown[]) => leaves.map((leaf) => String((leaf as Tensor).sharding?.spec));
      const lines = vi.spyOn(process.stderr, "write").mockReturnValue(true);
      vi.stubEnv("TE_LOG", "partition");
      const seen: { params: string[]; state: string[]; programs: number }[] = [];
      try {
        under(parallelism, () =>
          train((params, state) => {
            const programs = lines.mock.calls.filter(([line]) => String(line).includes("program over")).length;
            seen.push({ params: specsOf(tree.leaves(params)), state: specsOf(tree.leaves(state)), programs });
          }),
        );
      } finally {
        vi.unstubAllEnvs();
        lines.mockRestore();
      }
      const [first, second, third, fourth] = seen;
      expect(third).toEqual(second);
      expect(fourth).toEqual(second);
      expect(second!.params).toEqual(first!.params);
      expect(second!.programs).toBeGreaterThan(0);
      const isSplit = (spec: string): boolean => /"/.test(spec);
      expect(first!.params.some(isSplit)).toBe(parallelism.name !== "dp2");
      // Adam has two moments for each parameter; counts are whole.
      for (const spec of new Set(first!.params.filter(isSplit))) {
        const count = (specs: readonly string[]): number => specs.filter((each) => each === spec).length;
        expect([spec, count(first!.state)]).toEqual([spec, 2 * count(first!.params)]);
      }
    });
  },
);
