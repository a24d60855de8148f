/** Constraints on how tensors are split: where programs have them, with which axes, and what is refused. */
import { grad, jit, makeProgram, type Tensor, tensor } from "@te/tensor";
import { planMemory, runPasses, simplify } from "@te/tensor/backend";
import { expectError, findBitDifference, onEachDevice } from "@te/testkit";
import { describe, expect, it } from "vitest";
import {
  withShardingConstraintByLogicalAxes as constrain,
  globalShardGuard,
  Mesh,
  MeshResource,
  NamedSharding,
  PartitionSpec,
  shardingConstraintOp,
  withMesh,
  withShardingConstraint,
} from "../src/index.js";

const x = tensor(new Float32Array(8), { shape: [2, 4] });
const resource = new MeshResource({ dpResource: "data", tpResource: "tensor" });

describe("withShardingConstraintByLogicalAxes", () => {
  it("asks for nothing without names", () => {
    withMesh(new Mesh({ data: 2 }), () => {
      for (const names of [null, undefined, []]) expect(constrain(x, names)).toBe(x);
    });
  });

  it("is x without a mesh", () => {
    expect(constrain(x, ["nvte_batch", "nvte_hidden_tp"])).toBe(x);
    globalShardGuard(resource, () => expect(constrain(x, ["nvte_batch", "mine"])).toBe(x));
  });

  it("is x on one device, and splits it on several", async () => {
    const split = (mesh: Mesh) =>
      globalShardGuard(resource, () => withMesh(mesh, () => constrain(x, ["nvte_batch", "nvte_hidden_tp"])));
    expect(split(new Mesh({ data: 1, tensor: 1 }))).toBe(x);
    const y = split(new Mesh({ data: 2, tensor: 2 }));
    expect(String(y.sharding?.spec)).toBe('PartitionSpec("data", "tensor")');
    expect(await y.data()).toEqual(await x.data());
  });

  it("refuses what does not divide, with the nearest sizes that do", () => {
    const message =
      /dimension 1 of float32\[2,4\] is split into 3 parts along tensor=3 of Mesh\(.*\), and must be a multiple of that, got 4\. Use 3 or 6, or leave/;
    globalShardGuard(resource, () =>
      withMesh(new Mesh({ data: 2, tensor: 3 }), () =>
        expectError("shape", message, () => constrain(x, ["nvte_batch", "nvte_hidden_tp"])),
      ),
    );
  });

  it("takes an array of names only", () => {
    expectError("option", /logical names must be an array, got nvte_batch/, () => constrain(x, "nvte_batch" as never));
  });

  it("checks the rank, with a mesh or without", () => {
    const check = () => constrain(x, ["nvte_batch"]);
    expectError("shape", /one logical name per dimension of x: float32\[2,4\], got \[nvte_batch\]/, check);
    globalShardGuard(resource, () =>
      withMesh(new Mesh({ data: 2, tensor: 1 }), () => expectError("shape", /one logical name/, check)),
    );
  });

  it("rejects a misspelt name of the layers", () => {
    expectError("option", /no such logical axis of the layers, got nvte_hiden/, () =>
      constrain(x, ["nvte_batch", "nvte_hiden"]),
    );
  });
});

/** The program of f under a mesh of data=2, tensor=1 and the resource above. */
const programOf = (f: (x: Tensor) => unknown, mesh = new Mesh({ data: 2, tensor: 1 })) =>
  withMesh(mesh, () => globalShardGuard(resource, () => makeProgram(f)(x)));
const constraintsOf = (program: ReturnType<typeof programOf>) =>
  program.nodes.filter(({ op }) => op.name === "sharding_constraint").map(({ params }) => params);
const batch = (x: Tensor): Tensor => constrain(x, ["nvte_batch", "nvte_hidden_tp"]);
const MESH = { mesh: ["data", "tensor"], meshShape: [2, 1] };
const SPLIT = { axes: ["data"], dims: [0], ...MESH };

describe("a constraint in a program", () => {
  it("stands there with the mesh and the axes that are larger than 1", () => {
    expect(String(programOf((x) => batch(x.exp())))).toBe(`program(%0: float32[2,4]) {
  %1: float32[2,4] = exp(%0)
  %2: float32[2,4] = sharding_constraint(%1) {"axes":["data"],"dims":[0],"mesh":["data","tensor"],"meshShape":[2,1]}
  return %2
}`);
    const mesh = new Mesh({ data: 2, tensor: 3 });
    const both = programOf((x) => withShardingConstraint(x, new PartitionSpec(null, ["tensor", "data"])), mesh);
    expect(constraintsOf(both)).toEqual([
      { axes: ["tensor", "data"], dims: [1, 1], mesh: ["data", "tensor"], meshShape: [2, 3] },
    ]);
  });

  it("asks also for what is to be whole", () => {
    const whole = programOf((x) => constrain(x, ["nvte_seqlen", "nvte_hidden"]));
    expect(constraintsOf(whole)).toEqual([{ axes: [], dims: [], ...MESH }]);
  });

  it("is not there without a mesh of several devices", () => {
    const plain = makeProgram((x: Tensor) => x.exp())(x).toString();
    expect(globalShardGuard(resource, () => makeProgram((x: Tensor) => batch(x.exp()))(x).toString())).toBe(plain);
    expect(programOf((x) => batch(x.exp()), new Mesh({ data: 1, tensor: 1 })).toString()).toBe(plain);
  });

  it("stays where passes simplify, unless it is equal to another", () => {
    const simplified = simplify(programOf((x) => batch(x.exp()).add(batch(x.exp()))));
    expect(constraintsOf(simplified)).toEqual([SPLIT]);
    const two = simplify(programOf((x) => constrain(batch(x), ["nvte_seqlen", "nvte_hidden"])));
    expect(constraintsOf(two)).toHaveLength(2);
    expect(constraintsOf(runPasses(two, () => true))).toHaveLength(2);
  });

  it("holds for the cotangent too", () => {
    const program = programOf((x) => grad((x: Tensor) => batch(x.mul(x)).exp().sum())(x));
    expect(constraintsOf(program)).toEqual([SPLIT, SPLIT]);
  });

  it("belongs to the mesh under which jit traced it", async () => {
    let count = 0;
    const f = jit((x: Tensor) => {
      count++;
      return batch(x.add(1)).mul(2);
    });
    const under = (mesh: Mesh) => withMesh(mesh, () => globalShardGuard(resource, () => f(x)));
    const twos = new Float32Array(8).fill(2);
    for (const mesh of [new Mesh({ data: 2, tensor: 1 }), new Mesh({ data: 1, tensor: 4 })])
      expect(await under(mesh).data()).toEqual(twos);
    expect(count).toBe(2);
    expect(await under(new Mesh({ data: 2, tensor: 1 })).data()).toEqual(twos);
    expect(count).toBe(2);
  });

  it("takes no memory of its own", () => {
    const nodes = programOf((x) => batch(x.exp()));
    const plan = planMemory(nodes);
    expect(plan.arenaBytes).toBe(planMemory(makeProgram((x: Tensor) => x.exp())(x)).arenaBytes);
  });

  it("refuses parameters that no mesh has", () => {
    const call = (params: object) => () => shardingConstraintOp({ x }, { ...MESH, ...params });
    expectError(
      "option",
      /an axis must be one of the mesh: data, tensor, got pipe/,
      call({ axes: ["pipe"], dims: [0] }),
    );
    expectError("option", /dims must name a dimension for each of the 1 axes/, call({ axes: ["data"] }));
    expectError(
      "option",
      /dims must be dimensions of x, of which there are 2, got 2/,
      call({ axes: ["data"], dims: [2] }),
    );
    expectError("option", /can split one dimension only, got data/, call({ axes: ["data", "data"], dims: [0, 1] }));
    expectError("option", /meshShape must hold a size for each of the 2 axes/, call({ meshShape: [2] }));
  });
});

onEachDevice(() => {
  it("a constraint changes no value and no gradient", () => {
    const f = (mark: (x: Tensor) => Tensor) => (x: Tensor) => mark(mark(x.add(0.5)).exp()).sum();
    const run = (g: (x: Tensor) => Tensor) => [jit(g)(x), jit((x: Tensor) => grad(g)(x))(x), grad(g)(x)];
    const marked = withMesh(new Mesh({ data: 2, tensor: 1 }), () => globalShardGuard(resource, () => run(f(batch))));
    run(f((x) => x)).forEach((plain, i) => expect(findBitDifference(marked[i]!, plain)).toBeUndefined());
  });
});

describe("PartitionSpec and NamedSharding", () => {
  const mesh = new Mesh({ data: 2, tensor: 4 });

  it("describe shards", () => {
    const sharding = new NamedSharding(mesh, new PartitionSpec(null, ["data", "tensor"]));
    expect(sharding.parts).toEqual([1, 8]);
    expect(sharding.shardShape([3, 16, 5])).toEqual([3, 2, 5]);
    expect(String(sharding.spec)).toBe('PartitionSpec(null, ["data","tensor"])');
  });

  it("reject what does not fit", () => {
    expectError("option", /can split one dimension only, got data/, () => new PartitionSpec("data", ["data"]));
    expectError("option", /an entry must be an axis name/, () => new PartitionSpec(3 as never));
    expectError("option", /model is not an axis of Mesh/, () => new NamedSharding(mesh, new PartitionSpec("model")));
    const rows = new NamedSharding(mesh, new PartitionSpec("tensor"));
    expectError("shape", /dimension 0 must be a multiple of 4/, () => rows.shardShape([6]));
    expectError("shape", /describes 1 dimensions, got shape \[\]/, () => rows.shardShape([]));
  });

  it("constrain by mesh axes", () => {
    expect(withShardingConstraint(x, new PartitionSpec("data"))).toBe(x);
    expectError("shape", /describes 3 dimensions/, () =>
      withShardingConstraint(x, new PartitionSpec(null, null, null)),
    );
    expectError("option", /model is not an axis of Mesh/, () =>
      withMesh(mesh, () => withShardingConstraint(x, new PartitionSpec("model"))),
    );
  });
});
