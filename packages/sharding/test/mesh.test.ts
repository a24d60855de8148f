/** Meshes and mesh resources: what they hold, where they are in force, and what they refuse. */
import { setImmediate as later } from "node:timers/promises";
import { traceContextKey } from "@te/tensor/op";
import { expectError } from "@te/testkit";
import { describe, expect, it } from "vitest";
import {
  activeMesh,
  activeResourceAxis,
  globalMeshResource,
  globalShardGuard,
  Mesh,
  MeshResource,
  meshAxisSize,
  withMesh,
} from "../src/index.js";

describe("Mesh", () => {
  it("knows its axes and sizes", () => {
    const mesh = new Mesh({ data: 2, tensor: 4 });
    expect(mesh.axisNames).toEqual(["data", "tensor"]);
    expect(mesh.size).toBe(8);
    expect(meshAxisSize("tensor", mesh)).toBe(4);
    expect(meshAxisSize(null, mesh)).toBe(1);
    expect(String(mesh)).toBe("Mesh(data=2, tensor=4)");
  });

  it("rejects shapes that make no sense", () => {
    expectError("option", /size of axis data must be a positive integer, got 0/, () => new Mesh({ data: 0 }));
    expectError("option", /positive integer, got 1.5/, () => new Mesh({ data: 1.5 }));
    expectError("option", /at least one axis/, () => new Mesh({}));
    expectError("option", /must not be empty or a number/, () => new Mesh({ 0: 2 }));
    expectError("option", /mesh must be a Mesh or null/, () => withMesh({ data: 2 } as never));
  });

  it("is active inside its scope only", async () => {
    const [a, b] = [new Mesh({ x: 2 }), new Mesh({ y: 3 })];
    await withMesh(a, async () => {
      await later();
      expect(activeMesh()).toBe(a);
      {
        using _ = withMesh(b);
        expect(meshAxisSize("y")).toBe(3);
        expect(withMesh(null, activeMesh)).toBeUndefined();
      }
      expect(activeMesh()).toBe(a);
    });
    expect(activeMesh()).toBeUndefined();
  });

  it("is asked for axes that it has", () => {
    expectError("option", /z is not an axis of Mesh\(x=2\)\. Its axes: x\./, () =>
      meshAxisSize("z", new Mesh({ x: 2 })),
    );
    expectError("option", /no mesh is active that could have the axis x.*withMesh/, () => meshAxisSize("x"));
    expectError("option", /toString is not an axis/, () => meshAxisSize("toString", new Mesh({ x: 2 })));
  });
});

describe("MeshResource", () => {
  it("has every field, null by default", () => {
    expect({ ...new MeshResource() }).toEqual({
      dpResource: null,
      tpResource: null,
      tpspResource: null,
      fsdpResource: null,
      ppResource: null,
      cpResource: null,
      epResource: null,
    });
    expect(Object.keys(new MeshResource())).toEqual([
      "dpResource",
      "tpResource",
      "tpspResource",
      "fsdpResource",
      "ppResource",
      "cpResource",
      "epResource",
    ]);
    expect(new MeshResource({ epResource: "e", dpResource: undefined })).toMatchObject({
      epResource: "e",
      dpResource: null,
    });
  });

  it("rejects unknown fields and values", () => {
    expectError("option", /unknown option dp\..*Options: dpResource/, () => new MeshResource({ dp: "x" } as never));
    expectError(
      "option",
      /dpResource must be the name of a mesh axis or null, got 3/,
      () => new MeshResource({ dpResource: 3 } as never),
    );
    expectError("option", /tpResource must be the name/, () => new MeshResource({ tpResource: "" }));
  });
});

describe("globalShardGuard", () => {
  const data = new MeshResource({ dpResource: "data" });
  const tensor = new MeshResource({ tpResource: "tensor" });

  it("sets and restores the resource, nested and after errors", () => {
    globalShardGuard(data, () => {
      expect(globalMeshResource()).toBe(data);
      expect(() =>
        globalShardGuard(tensor, () => {
          expect(globalMeshResource()).toBe(tensor);
          throw new Error("no");
        }),
      ).toThrow("no");
      expect(globalMeshResource()).toBe(data);
    });
    expectError("state", /no MeshResource is in force\. Enter globalShardGuard/, globalMeshResource);
  });

  it("works as `using` and over awaits", async () => {
    {
      using _ = globalShardGuard(data);
      expect(globalMeshResource()).toBe(data);
    }
    expectError("state", /in force/, globalMeshResource);
    const task = (resource: MeshResource) =>
      globalShardGuard(resource, async () => {
        await later();
        return globalMeshResource();
      });
    expect(await Promise.all([task(data), task(tensor)])).toEqual([data, tensor]);
  });

  it("takes a resource or null", () => {
    globalShardGuard(data, () => globalShardGuard(null, () => expectError("state", /in force/, globalMeshResource)));
    expectError("option", /resource must be a MeshResource or null, got object/i, () => globalShardGuard({} as never));
  });

  it("is part of what jit keeps programs under", () => {
    const keys = [
      traceContextKey(),
      globalShardGuard(data, traceContextKey),
      globalShardGuard(tensor, traceContextKey),
    ];
    keys.push(withMesh(new Mesh({ data: 2 }), traceContextKey), withMesh(new Mesh({ data: 4 }), traceContextKey));
    expect(new Set(keys).size).toBe(5);
    expect(globalShardGuard(new MeshResource({ dpResource: "data" }), traceContextKey)).toBe(keys[1]);
  });

  it("refuses tensor parallelism on two axes", () => {
    const both = new MeshResource({ tpResource: "t", tpspResource: "s" });
    globalShardGuard(both, () => {
      expect(globalMeshResource()).toBe(both);
      expect(withMesh(new Mesh({ t: 1, s: 2 }), globalMeshResource)).toBe(both);
      expectError("option", /only one of tpResource and tpspResource/, () =>
        withMesh(new Mesh({ t: 2, s: 2 }), globalMeshResource),
      );
    });
  });

  it("tells the axis of a field where it matters", () => {
    globalShardGuard(new MeshResource({ dpResource: "d", tpResource: "t" }), () => {
      expect(activeResourceAxis("dpResource")).toBeNull();
      withMesh(new Mesh({ d: 4, t: 1 }), () => {
        expect(activeResourceAxis("dpResource")).toBe("d");
        expect(activeResourceAxis("tpResource")).toBeNull();
        expect(activeResourceAxis("cpResource")).toBeNull();
        expectError("option", /field must be one of/, () => activeResourceAxis("dp" as never));
      });
      expectError("option", /t is not an axis/, () =>
        withMesh(new Mesh({ d: 4 }), () => activeResourceAxis("tpResource")),
      );
    });
  });
});
