/** Experts over an axis of their own: tokens go to where their expert is and come back, by one all-to-all each way. */
import { einsum, jit, random, type Tensor, valueAndGrad } from "@te/tensor";
import { expect, test } from "vitest";
import {
  activeMesh,
  devicePut,
  globalMeshResource,
  globalShardGuard,
  Mesh,
  MeshResource,
  makePartitioned,
  NamedSharding,
  PartitionSpec,
  withMesh,
  withShardingConstraint,
} from "../src/index.js";

const [EXPERTS, CAPACITY, HIDDEN, FEATURES] = [4, 8, 16, 32];
const ITEM = 4;

/** Each device has tokens for all experts: x[expert, token, hidden], split along the tokens. */
function forward(x: Tensor, w: Tensor): Tensor {
  if (!activeMesh()) return einsum("ech,ehf->ecf", x, w);
  const axis = globalMeshResource().epResource;
  const [byToken, byExpert] = [new PartitionSpec(null, axis), new PartitionSpec(axis)];
  const sent = withShardingConstraint(withShardingConstraint(x, byToken), byExpert);
  const y = withShardingConstraint(einsum("ech,ehf->ecf", sent, w), byExpert);
  return withShardingConstraint(y, byToken);
}

const loss = (x: Tensor, w: Tensor): Tensor => forward(x, w).pow(2).sum();
const step = valueAndGrad(loss, { argnums: [0, 1] });

test.each([2, 4])("over %i devices", (devices) => {
  const x = random.normal(random.key(1), [EXPERTS, CAPACITY, HIDDEN]);
  const w = random.normal(random.key(2), [EXPERTS, HIDDEN, FEATURES]);
  const [wanted, [dx, dw]] = jit(step)(x, w);
  const mesh = new Mesh({ expert: devices });
  withMesh(mesh, () =>
    globalShardGuard(new MeshResource({ epResource: "expert" }), () => {
      const tokens = devicePut(x, new NamedSharding(mesh, new PartitionSpec(null, "expert")));
      const weights = devicePut(w, new NamedSharding(mesh, new PartitionSpec("expert")));
      const exchanged = makePartitioned(step)(tokens, weights).collectives();
      const kinds = exchanged.map(({ kind, axes, bytes }) => `${kind} ${axes} ${bytes}`);
      const [given, made] = [HIDDEN, FEATURES].map((n) => (EXPERTS * CAPACITY * n * ITEM) / devices);
      // There and back, the gradients likewise, and the loss.
      const all = [given, made, made, given].map((bytes) => `all_to_all expert ${bytes}`);
      expect(kinds.filter((kind) => kind.startsWith("all_to_all"))).toEqual(all);
      expect(kinds.filter((kind) => !kind.startsWith("all_to_all"))).toEqual([`all_reduce expert ${ITEM}`]);
      const [value, [gx, gw]] = jit(step)(tokens, weights);
      expect(maxDifference(value, wanted)).toBeLessThan(1e-5 * Math.abs(wanted.dataSync()[0]!));
      expect(maxDifference(gx, dx)).toBeLessThan(1e-4);
      expect(maxDifference(gw, dw)).toBeLessThan(1e-4);
      expect(String(gw.sharding?.spec)).toBe(String(weights.sharding?.spec));
    }),
  );
});

/** Of all elements: what is split is brought together. */
const maxDifference = (a: Tensor, b: Tensor): number => {
  const whole = a.sharding ? devicePut(a, new NamedSharding(a.sharding.mesh, new PartitionSpec())) : a;
  const [left, right] = [whole, b].map((each) => Array.from(each.dataSync() as Float32Array));
  return Math.max(...left!.map((value, i) => Math.abs(value - right![i]!)));
};
