/** Rules of logical axes: extended by the table of the layers, and applied to the dimensions of tensors. */
import { expectError } from "@te/testkit";
import { describe, expect, it } from "vitest";
import {
  currentLogicalAxisRules,
  extendLogicalAxisRules,
  globalShardGuard,
  type LogicalAxisRule,
  logicalAxisRules,
  logicalAxisTable,
  logicalToMeshAxes,
  Mesh,
  MeshResource,
  withMesh,
} from "../src/index.js";

const resources: [string, MeshResource][] = [
  ["none", new MeshResource()],
  ["dp", new MeshResource({ dpResource: "data" })],
  ["fsdp", new MeshResource({ fsdpResource: "shard" })],
  ["tp", new MeshResource({ tpResource: "tensor" })],
  ["dp, fsdp", new MeshResource({ dpResource: "data", fsdpResource: "shard" })],
  ["dp, tp", new MeshResource({ dpResource: "data", tpResource: "tensor" })],
  ["fsdp, tp", new MeshResource({ fsdpResource: "shard", tpResource: "tensor" })],
  ["dp, fsdp, tp", new MeshResource({ dpResource: "data", fsdpResource: "shard", tpResource: "tensor" })],
];

describe("extendLogicalAxisRules", () => {
  it.each(resources)("keeps the rules and appends the table: %s", (_, resource) => {
    const own: LogicalAxisRule[] = [
      ["a1", null],
      ["a2", "ma2"],
    ];
    for (const mesh of [null, new Mesh({ data: 2, shard: 2, tensor: 2 })]) {
      globalShardGuard(resource, () =>
        withMesh(mesh, () => expect(extendLogicalAxisRules(own)).toEqual([...own, ...logicalAxisTable()])),
      );
    }
    expect(own).toHaveLength(2);
  });

  it.each(resources)("accepts its own result: %s", (_, resource) => {
    globalShardGuard(resource, () => {
      const once = extendLogicalAxisRules([]);
      expect(extendLogicalAxisRules(once)).toEqual(once);
    });
  });

  it("accepts several mesh axes for a name of the user's", () => {
    expect(
      extendLogicalAxisRules([
        ["a3", "x"],
        ["a3", "y"],
      ]).slice(0, 2),
    ).toEqual([
      ["a3", "x"],
      ["a3", "y"],
    ]);
  });

  it("keeps a name of the layers where the user put it", () => {
    globalShardGuard(new MeshResource({ dpResource: "foo" }), () => {
      const rules = extendLogicalAxisRules([
        ["a", null],
        ["nvte_batch", "foo"],
      ]);
      expect(rules).toHaveLength(13);
      expect(rules[1]).toEqual(["nvte_batch", "foo"]);
      expect(rules.filter(([name]) => name === "nvte_batch")).toHaveLength(1);
    });
  });

  it.each([
    ["an item of another length", [["a"]], /must be \[logical name, mesh axis or null\], got \[a\]/],
    ["an item of three", [["a", "b", "c"]], /must be \[logical name/],
    ["an item that is no list", ["ab"], /must be \[logical name.*got ab/],
    ["a name that is no string", [[1, "x"]], /the name must be a string, got 1/],
    ["a list of mesh axes", [["a3", ["x", "y"]]], /the mesh axis of a3 must be one name or null, got \[x, y\]/],
    ["an undefined mesh axis", [["a3", undefined]], /the mesh axis of a3 must be one name or null, got undefined/],
    [
      "another axis for a name of the layers",
      [["nvte_batch", "foo"]],
      /nvte_batch is a name of the layers, which the MeshResource in force maps to null, got "foo"/,
    ],
    [
      "a name of the layers twice",
      [
        ["nvte_seqlen", null],
        ["nvte_seqlen", null],
      ],
      /nvte_seqlen is a name of the layers and may stand once/,
    ],
    ["no array", "rules", /rules must be an array, got rules/],
  ])("rejects %s", (_, rules, message) => {
    expectError("option", message, () => extendLogicalAxisRules(rules as never));
  });

  it("rejects a name of the layers with another axis than the resource's", () => {
    globalShardGuard(new MeshResource({ dpResource: "data" }), () => {
      expectError("option", /maps to "data", got "foo"/, () => extendLogicalAxisRules([["nvte_batch", "foo"]]));
      expectError("option", /maps to "data", got null/, () => extendLogicalAxisRules([["nvte_batch", null]]));
    });
  });
});

describe("logicalToMeshAxes", () => {
  const entries = (names: (string | null)[], rules?: LogicalAxisRule[]) =>
    rules ? logicalAxisRules(rules, () => logicalToMeshAxes(names).entries) : logicalToMeshAxes(names).entries;

  it("uses the rules in force, and only them", () => {
    globalShardGuard(new MeshResource({ dpResource: "data" }), () => {
      expect(entries(["a", "nvte_batch", null, "b"], [["a", "x"]])).toEqual(["x", null, null, null]);
      expect(entries(["nvte_batch", "a"])).toEqual(["data", null]);
      expect(entries(["nvte_batch", "a"], [])).toEqual(["data", null]);
    });
  });

  it("takes the first rule whose axis is still free", () => {
    expect(
      entries(
        ["a", "a", "a"],
        [
          ["a", "x"],
          ["a", "y"],
        ],
      ),
    ).toEqual(["x", "y", null]);
    expect(
      entries(
        ["a", "b"],
        [
          ["a", "x"],
          ["b", "x"],
          ["b", null],
          ["b", "y"],
        ],
      ),
    ).toEqual(["x", null]);
  });

  it("leaves names of the layers without a rule whole, in a mesh without a resource too", () => {
    withMesh(new Mesh({ data: 2 }), () =>
      expect(entries(["nvte_hidden", "a"], [["a", "data"]])).toEqual([null, "data"]),
    );
  });

  it("rejects a misspelt name of the layers", () => {
    expectError("option", /no such logical axis of the layers, got nvte_bach\. Known: nvte_batch/, () =>
      entries(["nvte_bach"]),
    );
    expectError("option", /no such logical axis/, () => entries(["nvte_heads"], [["a", null]]));
    expect(entries(["nvte_own"], [["nvte_own", "x"]])).toEqual(["x"]);
  });

  it("restores the rules", () => {
    logicalAxisRules([["a", "x"]], () => {
      using _ = logicalAxisRules([["a", "y"]]);
      expect(currentLogicalAxisRules()).toEqual([["a", "y"]]);
    });
    expect(currentLogicalAxisRules()).toEqual([]);
    expectError("option", /logicalAxisRules: a rule must be/, () => logicalAxisRules([["a"]] as never));
  });
});
