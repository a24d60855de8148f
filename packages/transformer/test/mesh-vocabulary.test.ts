/** A vocabulary that is split: embeddings, heads and losses exchange rows of statistics, never a table or logits. */
import { Embed } from "@te/layers";
import {
  type Collective,
  devicePut,
  Mesh,
  MeshResource,
  makePartitioned,
  NamedSharding,
  PartitionSpec,
  withShardingConstraint,
} from "@te/sharding";
import {
  crossEntropy,
  type DType,
  jit,
  logsumexp,
  softmax,
  type Tensor,
  take,
  takeAlongAxis,
  tensor,
  valueAndGrad,
} from "@te/tensor";
import { crossEntropyOp } from "@te/tensor/op";
import { expectError, judgeFunction, limitOf, normals, onEachDevice, type Row, widen } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { under } from "./mesh-setup.js";

const [BATCH, LENGTH, HIDDEN, WORDS] = [4, 8, 16, 48];
const ITEM = 4;

/** Bytes of what a row of tokens, or each element of their vectors, has in float32. */
const ROWS = BATCH * LENGTH * ITEM;
const ACTIVATION = ROWS * HIDDEN;
const TABLE = WORDS * HIDDEN * ITEM;

const tensors = (mesh: Mesh) => ({ name: "", mesh, resource: new MeshResource(), sequence: false });
const spec = (...entries: (string | null)[]) => new PartitionSpec(...entries);
const put = (x: Tensor, mesh: Mesh, ...entries: (string | null)[]) =>
  devicePut(x, new NamedSharding(mesh, spec(...entries)));

const ids = () =>
  tensor(
    Int32Array.from({ length: BATCH * LENGTH }, (_, i) => (i * 7 + 3) % WORDS),
    { shape: [BATCH, LENGTH] },
  );

/** A model of an embedding, a nonlinearity and a head that shares the table, and the mean of its loss. */
const lossOf = (table: Tensor, tokens: Tensor): Tensor => {
  const embed = new Embed({ numEmbeddings: WORDS, features: HIDDEN });
  const x = embed.apply({ params: { embedding: table } }, tokens) as Tensor;
  return crossEntropy(x.tanh().matmul(table.T), tokens).mean();
};

const kinds = (collectives: readonly Collective[]) =>
  collectives.map(({ kind, axes, bytes }) => `${kind} ${axes.join(" ")} ${bytes}`);

describe("a step with a vocabulary that is split exchanges", () => {
  test("along the axis of the vocabulary: rows of vectors, one maximum and two sums of each row", () => {
    const mesh = new Mesh({ tensor: 2 });
    under(tensors(mesh), () => {
      const step = makePartitioned(valueAndGrad(lossOf))(put(normals([WORDS, HIDDEN]), mesh, "tensor"), ids());
      expect(kinds(step.collectives())).toEqual([
        `all_reduce tensor ${ACTIVATION}`, // what was taken
        `all_reduce tensor ${ROWS}`, // the largest logits
        `all_reduce tensor ${2 * ROWS}`, // sums of exponentials, and logits of labels
        `all_reduce tensor ${ACTIVATION}`, // the gradient of the head's input
      ]);
      expect(String(step)).toMatch(/return %\d+, %\d+$/m);
      const [, gradient] = step.outputs.map((id) => step.values[id]!.layout.dims);
      expect(gradient).toEqual([["tensor"], []]);
    });
  });

  test("along that of the batch: the loss and the parts of the gradient, once", () => {
    const mesh = new Mesh({ data: 2, tensor: 4 });
    under(tensors(mesh), () => {
      const tokens = put(ids(), mesh, "data");
      const step = makePartitioned(valueAndGrad(lossOf))(put(normals([WORDS, HIDDEN]), mesh, "tensor"), tokens);
      expect(kinds(step.collectives())).toEqual([
        `all_reduce tensor ${ACTIVATION / 2}`,
        `all_reduce tensor ${ROWS / 2}`,
        `all_reduce tensor ${ROWS}`,
        `all_reduce tensor ${ACTIVATION / 2}`,
        `all_reduce data ${TABLE / 4 + ITEM}`,
      ]);
    });
  });

  test("with a split sequence: what was taken scattered, and its gradient gathered", () => {
    const mesh = new Mesh({ tensor: 2 });
    under(tensors(mesh), () => {
      const taken = (table: Tensor, g: Tensor): Tensor =>
        withShardingConstraint(take(table, ids()), spec(null, "tensor")).mul(g).sum();
      const table = put(normals([WORDS, HIDDEN]), mesh, "tensor");
      const step = makePartitioned(valueAndGrad(taken))(table, normals([BATCH, LENGTH, HIDDEN]));
      expect(kinds(step.collectives())).toEqual([
        `reduce_scatter tensor ${ACTIVATION}`,
        `all_gather tensor ${ACTIVATION}`,
        `all_reduce tensor ${ITEM}`,
      ]);
    });
  });
});

const MESHES = [
  [new Mesh({ tensor: 2 }), null],
  [new Mesh({ data: 2, tensor: 3 }), "data"],
] as const;

onEachDevice((device) => {
  const dtypes: readonly DType[] = device === "reference" ? ["float32"] : ["float32", "bfloat16"];
  // A loss is float32, and has the digits of its logits.
  const limit = (row: Row, dtype: DType) => () => widen(limitOf(row, dtype), 2);

  describe.each(MESHES)("over %s", (mesh, data) => {
    test.each(dtypes)("a model has the loss and the gradient of one device, %s", (dtype) => {
      under(tensors(mesh), () => {
        const table = put(normals([WORDS, HIDDEN], { dtype }), mesh, "tensor");
        judgeFunction((table: Tensor) => lossOf(table, put(ids(), mesh, data)), table, {
          limit: limit("layer", dtype),
        });
      });
    });

    test.each(dtypes)("functions of split logits have their values and gradients, %s", (dtype) => {
      under(tensors(mesh), () => {
        const logits = put(normals([BATCH, LENGTH, WORDS], { dtype, std: 3 }), mesh, data, null, "tensor");
        const functions: Record<string, (x: Tensor) => Tensor> = {
          softmax: (x) => softmax(x),
          logsumexp: (x) => logsumexp(x),
          "an element of each row": (x) => takeAlongAxis(x, ids().reshape([BATCH, LENGTH, 1]), -1),
          "a loss with its log-sum-exp": (logits) => {
            const { loss, max, sum } = crossEntropyOp({ logits, labels: ids() });
            return loss.add(max.add(sum.log()).pow(2).mul(0.1));
          },
        };
        for (const f of Object.values(functions)) judgeFunction(f, logits, { limit: limit("composed", dtype) });
      });
    });

    test("an index and a label that no part has are errors", () => {
      const table = () => put(normals([WORDS, HIDDEN]), mesh, "tensor");
      const outside = () => put(ids().add(1), mesh, data);
      under(tensors(mesh), () => {
        const rows = jit((table: Tensor, tokens: Tensor) => take(table, tokens))(table(), outside());
        expectError("index", /every index must be in \[0, 47\], got/, () => rows.dataSync());
        const loss = jit((table: Tensor, tokens: Tensor) => {
          const x = take(table, tokens.mul(0));
          return crossEntropy(x.matmul(table.T), tokens);
        })(table(), outside());
        expectError("index", /every label must be in \[0, 47\], got/, () => loss.dataSync());
      });
    });
  });
});
