/** Random bits over meshes: each device draws its part alone, and the bits are those of one device. */
import { jit, random, type Tensor } from "@te/tensor";
import { onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { devicesOf, emit, exchangeInProgram } from "../src/doors/partition.js";
import { Mesh, makePartitioned, PartitionSpec, withMesh, withShardingConstraint } from "../src/index.js";

const mesh = new Mesh({ a: 2, b: 3 });
const key = random.key(11);

const SPECS: readonly [PartitionSpec, number[]][] = [
  [new PartitionSpec("a"), [2, 6, 9]],
  [new PartitionSpec(null, "b"), [4, 2, 9]],
  [new PartitionSpec(null, null, "b"), [4, 6, 3]],
  [new PartitionSpec("a", null, "b"), [2, 6, 3]],
  [new PartitionSpec(null, ["b", "a"]), [4, 1, 9]],
];

onEachDevice(() => {
  describe.each(SPECS)("%s", (spec, part) => {
    test.each([8, 16, 32] as const)("width %i", (width) => {
      const draw = (key: Tensor): Tensor => random.bits(key, [4, 6, 9], { width });
      const split = (key: Tensor): Tensor => withShardingConstraint(draw(key), spec);
      const whole = draw(key).dataSync();
      withMesh(mesh, () => {
        expect(jit(split)(key).dataSync()).toEqual(whole);
        const partitioned = makePartitioned(split)(key);
        expect(partitioned.collectives()).toEqual([]);
        const { nodes, values } = emit(partitioned, devicesOf(mesh), exchangeInProgram);
        const drawn = nodes.filter(({ op }) => op.name === "random_bits");
        const parts = (4 * 6 * 9) / part.reduce((n, length) => n * length);
        expect(drawn.map(({ outputs }) => values[outputs[0]!]!.shape)).toEqual(new Array(parts).fill(part));
      });
    });
  });
});
