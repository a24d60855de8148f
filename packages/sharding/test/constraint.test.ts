import { tensor } from "@te/tensor";
import { expectError } from "@te/testkit";
import { describe, expect, it } from "vitest";
import {
  withShardingConstraintByLogicalAxes as constrain,
  globalShardGuard,
  Mesh,
  MeshResource,
  NamedSharding,
  PartitionSpec,
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

  it("is x where no axis larger than 1 is asked for", () => {
    globalShardGuard(resource, () => {
      expect(withMesh(new Mesh({ data: 1, tensor: 1 }), () => constrain(x, ["nvte_batch", "nvte_hidden_tp"]))).toBe(x);
      expect(withMesh(new Mesh({ data: 2, tensor: 2 }), () => constrain(x, ["nvte_seqlen", "nvte_hidden"]))).toBe(x);
    });
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

  it("says that splitting is not there yet", () => {
    globalShardGuard(resource, () =>
      withMesh(new Mesh({ data: 2, tensor: 1 }), () =>
        expectError(
          "unsupported",
          /splitting a tensor over data of Mesh\(data=2, tensor=1\) is not supported yet/,
          () => constrain(x, ["nvte_batch", "nvte_hidden_tp"]),
        ),
      ),
    );
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
    expectError("unsupported", /not supported yet/, () =>
      withMesh(mesh, () => withShardingConstraint(x, new PartitionSpec("data"))),
    );
  });
});
