/**
 * What meshes.test.ts runs, alone or as one of four processes: on a mesh of 2 x 2, what a mesh resource, logical axes and rules
 * say decides where tensors lie, and changes no value. Writes a line for each row.
 */
import assert from "node:assert/strict";
import "@te/kernels-cpu";
import { DenseGeneral, LayerNormMLP } from "@te/layers";
import {
  devicePut,
  extendLogicalAxisRules,
  globalShardGuard,
  logicalAxisRules,
  Mesh,
  MeshResource,
  NamedSharding,
  PartitionSpec,
  processCount,
  withMesh,
  withShardingConstraintByLogicalAxes,
} from "@te/sharding";
import { random, type Tensor, tree, valueAndGrad } from "@te/tensor";

const mesh = new Mesh({ data: 2, tensor: 2 });
const LIMIT = 1e-5;

/** Values as they are on every process: of a tensor that is split, brought together. */
const valuesOf = (x: Tensor): ArrayLike<number> =>
  (x.sharding ? devicePut(x, new NamedSharding(mesh, new PartitionSpec())) : x).dataSync() as never;

function expectNear(name: string, split: unknown, whole: unknown): void {
  const [a, b] = [tree.leaves(split), tree.leaves(whole)] as [Tensor[], Tensor[]];
  assert.equal(a.length, b.length, name);
  a.forEach((leaf, i) => {
    const [x, y] = [valuesOf(leaf), valuesOf(b[i]!)];
    assert.equal(x.length, y.length);
    for (let k = 0; k < x.length; k++) assert.ok(Math.abs(x[k]! - y[k]!) < LIMIT, `${name}: ${x[k]} and ${y[k]}`);
  });
}

const specOf = (x: Tensor): string => String(x.sharding?.spec);
const under = <R>(resource: MeshResource, body: () => R): R => withMesh(mesh, () => globalShardGuard(resource, body));
const say = (row: string): void => console.log(`${row} computes on ${processCount()}`);

// What an axis is for decides how a layer's parameters lie; loss and gradients are those of one device.
for (const [of, spec] of [
  [{ dpResource: "data", tpResource: "tensor" }, 'PartitionSpec(null, null, "tensor")'],
  [{ fsdpResource: "data", tpspResource: "tensor" }, 'PartitionSpec("data", null, "tensor")'],
] as const) {
  const mlp = new LayerNormMLP({
    intermediateDim: 16,
    kernelAxes1: ["nvte_w_fsdp", "nvte_w_joined", "nvte_w_tp"],
    kernelAxes2: ["nvte_w_tp", "nvte_w_fsdp"],
    layernormInputAxes: ["nvte_batch", "nvte_seqlen", "nvte_hidden"],
    dot1InputAxes: ["nvte_batch", "nvte_seqlen", "nvte_hidden"],
  });
  const run = () => {
    const x = random.normal(random.key(1), [4, 8, 8]);
    const { params } = mlp.init(random.key(0), x, { deterministic: true }) as { params: any };
    const lossOf = (params: any) =>
      (mlp.apply({ params }, x, { deterministic: true }) as [Tensor, unknown])[0].pow(2).mean();
    return { params, results: valueAndGrad(lossOf)(params) };
  };
  const split = under(new MeshResource(of), run);
  assert.equal(specOf(split.params.wi_kernel), spec);
  under(new MeshResource(of), () => expectNear("MeshResource", split.results, run().results));
  const whole = run();
  under(new MeshResource(of), () => expectNear("MeshResource", split.results, whole.results));
}
say("MeshResource");

// Names of dimensions become axes of the mesh; what is computed from the parts is what the whole gives.
const resource = new MeshResource({ dpResource: "data", tpResource: "tensor" });
{
  const x = random.normal(random.key(2), [4, 8]);
  const f = (x: Tensor) => withShardingConstraintByLogicalAxes(x.mul(2), ["nvte_batch", "nvte_hidden_tp"]);
  const [y, whole] = [under(resource, () => f(x)), f(x)];
  assert.equal(specOf(y), 'PartitionSpec("data", "tensor")');
  under(resource, () => expectNear("logical axes", [y, y.sum(1)], [whole, whole.sum(1)]));
}
say("logical axes");

// A user's rule decides where a parameter of its name lies.
{
  const dense = new DenseGeneral({ features: 8, kernelAxes: ["mine", "nvte_w_tp"] });
  const x = random.normal(random.key(3), [4, 8]);
  const run = () => {
    const variables = dense.init(random.key(0), x);
    return { variables, y: dense.apply(variables, x) as Tensor };
  };
  const split = under(resource, () => logicalAxisRules(extendLogicalAxisRules([["mine", "data"]]), run));
  assert.equal(specOf((split.variables.params as any).kernel), 'PartitionSpec("data", "tensor")');
  under(resource, () => expectNear("rules", split.y, run().y));
  const whole = run();
  under(resource, () => expectNear("rules", split.y, whole.y));
}
say("extendLogicalAxisRules");
