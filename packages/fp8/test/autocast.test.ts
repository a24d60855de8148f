/** The scope of a recipe: it nests, follows awaits, restores after errors, and is part of the keys of jit. */
import { setImmediate as later } from "node:timers/promises";
import { globalMeshResource, globalShardGuard, MeshResource } from "@te/sharding";
import { jit, type Tensor, tensor } from "@te/tensor";
import { traceContextKey } from "@te/tensor/op";
import { expectError } from "@te/testkit";
import { describe, expect, it } from "vitest";
import { autocast, currentRecipe, DelayedScaling, fp8Autocast } from "../src/index.js";

const recipe = new DelayedScaling({ amaxHistoryLen: 4 });
const other = new DelayedScaling({ margin: 1 });
const resource = new MeshResource({ dpResource: "data" });

describe.each([
  ["autocast", (enabled?: boolean, r?: DelayedScaling | null) => ({ enabled, recipe: r }), autocast],
  ["fp8Autocast", (enabled?: boolean, r?: DelayedScaling | null) => ({ enabled, fp8Recipe: r }), fp8Autocast],
] as const)("%s", (name, options, enter: typeof autocast) => {
  const cast = <R>(enabled: boolean | undefined, r: DelayedScaling | null | undefined, fn: () => R) =>
    enter(options(enabled, r) as object, fn);

  it("is off by default", () => {
    expect(currentRecipe()).toBeUndefined();
    expect(enter({}, currentRecipe)).toBeUndefined();
    expect(cast(undefined, recipe, currentRecipe)).toBeUndefined();
    expect(cast(true, undefined, currentRecipe)).toMatchObject({ amaxHistoryLen: 1024, margin: 0 });
    expect(cast(true, null, currentRecipe)).toBeInstanceOf(DelayedScaling);
  });

  it("nests and restores, also after an error", () => {
    cast(true, recipe, () => {
      expect(currentRecipe()).toBe(recipe);
      expect(cast(true, other, currentRecipe)).toBe(other);
      expect(cast(false, other, currentRecipe)).toBeUndefined();
      const failing = () => {
        throw new Error("no");
      };
      expect(() => cast(true, other, failing)).toThrow("no");
      expect(currentRecipe()).toBe(recipe);
    });
    expect(currentRecipe()).toBeUndefined();
  });

  it("follows awaits of two tasks that take turns", async () => {
    const task = (r: DelayedScaling) =>
      cast(true, r, async () => {
        for (let i = 0; i < 3; i++) {
          await later();
          expect(currentRecipe()).toBe(r);
        }
        return currentRecipe();
      });
    expect(await Promise.all([task(recipe), task(other)])).toEqual([recipe, other]);
    expect(currentRecipe()).toBeUndefined();
  });

  it("works with `using`, over awaits", async () => {
    {
      using _outer = enter({ ...options(true, recipe), meshResource: resource } as object);
      await later();
      expect(currentRecipe()).toBe(recipe);
      {
        using _inner = enter(options(false) as object);
        expect(currentRecipe()).toBeUndefined();
        expect(globalMeshResource()).toBe(resource);
      }
      expect(currentRecipe()).toBe(recipe);
    }
    expect(currentRecipe()).toBeUndefined();
    expectError("state", /no MeshResource is in force/, globalMeshResource);
  });

  it("rejects what it does not know", () => {
    expectError("option", /unknown option format\. Options: enabled/, () => enter({ format: 1 } as never, () => 0));
    expectError("option", /enabled must be a boolean, got 1/, () => enter({ enabled: 1 } as never, () => 0));
    expectError("option", /the recipe must be a DelayedScaling or Float8CurrentScaling, got Map/, () =>
      cast(false, new Map() as never, () => 0),
    );
    expectError("option", new RegExp(`${name}: options must be an object, got null. Options: enabled`), () =>
      enter(null as never),
    );
  });
});

describe("autocast", () => {
  it("knows the recipe under its own option name only", () => {
    expectError("option", /unknown option fp8Recipe\. Did you mean recipe\?/, () =>
      autocast({ fp8Recipe: recipe } as never, () => 0),
    );
    expectError("option", /unknown option recipe\. Did you mean fp8Recipe\?/, () =>
      fp8Autocast({ recipe } as never, () => 0),
    );
  });

  it("enters the guard of its mesh resource and restores it", () => {
    autocast({ meshResource: resource }, () => expect(globalMeshResource()).toBe(resource));
    expectError("state", /no MeshResource is in force/, globalMeshResource);
    globalShardGuard(resource, () => {
      autocast({ enabled: true }, () => expect(globalMeshResource()).toBe(resource));
      autocast({ enabled: true, meshResource: null }, () => expectError("state", /in force/, globalMeshResource));
      expect(globalMeshResource()).toBe(resource);
    });
  });

  it("is part of what jit keeps programs under", () => {
    const traced: (string | undefined)[] = [];
    const double = jit((x: Tensor) => {
      traced.push(currentRecipe()?.toString());
      return x.mul(2);
    });
    const x = tensor([1, 2]);
    for (let i = 0; i < 2; i++) {
      double(x);
      autocast({ enabled: true, recipe }, () => double(x));
      autocast({ enabled: true, recipe: new DelayedScaling({ amaxHistoryLen: 4 }) }, () => double(x));
      autocast({ enabled: true, recipe: other }, () => double(x));
      autocast({ enabled: false }, () => double(x));
    }
    expect(traced).toEqual([undefined, recipe.toString(), other.toString()]);
    expect(autocast({ enabled: false }, traceContextKey)).toBe(traceContextKey());
  });
});
