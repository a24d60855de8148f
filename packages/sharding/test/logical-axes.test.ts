/** The table of logical axes under every kind of parallelism, and the order in which resources count. */
import { expectError } from "@te/testkit";
import { describe, expect, it } from "vitest";
import * as sharding from "../src/index.js";
import {
  globalShardGuard,
  logicalAxisTable,
  Mesh,
  MeshResource,
  type MeshResourceOptions,
  withMesh,
} from "../src/index.js";

const table = (options: MeshResourceOptions, mesh?: Record<string, number>) =>
  globalShardGuard(new MeshResource(options), () =>
    Object.fromEntries(withMesh(mesh ? new Mesh(mesh) : null, logicalAxisTable)),
  );

describe("logical axes", () => {
  it("have the original's values", () => {
    const values = Object.fromEntries(Object.entries(sharding).filter(([name]) => name.endsWith("_AXES")));
    expect(values).toEqual({
      BATCH_AXES: "nvte_batch",
      SEQLEN_AXES: "nvte_seqlen",
      SEQLEN_TP_AXES: "nvte_seqlen_tp",
      SEQLEN_CP_AXES: "nvte_seqlen_cp",
      HEAD_AXES: "nvte_head",
      HIDDEN_AXES: "nvte_hidden",
      HIDDEN_TP_AXES: "nvte_hidden_tp",
      JOINED_AXES: "nvte_joined",
      W_NO_SHARD_AXES: "nvte_w_no_shard",
      W_FSDP_AXES: "nvte_w_fsdp",
      W_TP_AXES: "nvte_w_tp",
      W_JOINED_AXES: "nvte_w_joined",
    });
  });

  it("stand in the table in order, all unsplit without a resource", () => {
    expect(logicalAxisTable()).toEqual(
      Object.entries(sharding)
        .filter(([name]) => name.endsWith("_AXES"))
        .map(([, value]) => [value, null])
        .sort((a, b) => order.indexOf(a[0] as string) - order.indexOf(b[0] as string)),
    );
  });

  it("map data parallelism to the batch", () => {
    expect(table({ dpResource: "data" })).toMatchObject({ nvte_batch: "data", nvte_w_fsdp: null, nvte_head: null });
  });

  it("map tensor parallelism to heads, hidden and weights", () => {
    expect(table({ tpResource: "tensor" })).toMatchObject({
      nvte_head: "tensor",
      nvte_hidden_tp: "tensor",
      nvte_w_tp: "tensor",
      nvte_seqlen_tp: null,
      nvte_hidden: null,
      nvte_w_joined: null,
    });
  });

  it("map tensor with sequence parallelism to the sequence too", () => {
    const found = table({ tpspResource: "tp" });
    for (const name of ["nvte_head", "nvte_hidden_tp", "nvte_w_tp", "nvte_seqlen_tp"]) expect(found[name]).toBe("tp");
    expect(found.nvte_seqlen).toBeNull();
  });

  it("map context parallelism and fully sharded data parallelism", () => {
    expect(table({ cpResource: "c", fsdpResource: "f" })).toMatchObject({
      nvte_seqlen_cp: "c",
      nvte_batch: "f",
      nvte_w_fsdp: "f",
    });
  });

  it("take fsdp before dp for the batch where its axis is larger than 1", () => {
    const both = { dpResource: "d", fsdpResource: "f" };
    expect(table(both, { d: 2, f: 2 })).toMatchObject({ nvte_batch: "f", nvte_w_fsdp: "f" });
    expect(table(both, { d: 2, f: 1 })).toMatchObject({ nvte_batch: "d", nvte_w_fsdp: "f" });
    expect(table(both)).toMatchObject({ nvte_batch: "f" });
  });

  it("take tpsp before tp where its axis is larger than 1", () => {
    const both = { tpResource: "t", tpspResource: "s" };
    expect(table(both, { t: 1, s: 2 })).toMatchObject({ nvte_head: "s", nvte_seqlen_tp: "s" });
    expect(table(both, { t: 2, s: 1 })).toMatchObject({ nvte_head: "t", nvte_seqlen_tp: "s" });
  });

  it("reject an axis that the mesh does not have", () => {
    expectError("option", /tensor is not an axis of Mesh\(data=2\)/, () =>
      table({ tpResource: "tensor" }, { data: 2 }),
    );
    expectError("option", /f is not an axis of Mesh/, () => table({ fsdpResource: "f" }, { data: 2 }));
  });

  it("need a guard inside a mesh", () => {
    expectError("state", /no MeshResource is in force.*globalShardGuard/, () =>
      withMesh(new Mesh({ data: 2 }), logicalAxisTable),
    );
  });
});

const order = [
  "nvte_batch",
  "nvte_seqlen",
  "nvte_seqlen_tp",
  "nvte_seqlen_cp",
  "nvte_head",
  "nvte_hidden",
  "nvte_hidden_tp",
  "nvte_joined",
  "nvte_w_no_shard",
  "nvte_w_fsdp",
  "nvte_w_tp",
  "nvte_w_joined",
];
