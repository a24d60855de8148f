/** Collections of variables: whole ones are replaced, the others and both arguments stay as they are. */
import { expectError } from "@te/testkit";
import { describe, expect, it } from "vitest";
import { FP8_COLLECTION_NAME, NVTE_FP8_COLLECTION_NAME, updateCollections } from "../src/index.js";

describe("updateCollections", () => {
  const original = { params: { kernel: 1, bias: 2 }, fp8_metas: { x_scale: 1, x_amax_history: 2 } };

  it("names the collection", () => {
    expect([FP8_COLLECTION_NAME, NVTE_FP8_COLLECTION_NAME]).toEqual(["fp8_metas", "fp8_metas"]);
  });

  it("replaces whole collections and keeps the others", () => {
    const updated = updateCollections({ fp8_metas: { x_scale: 3 } }, original);
    expect(updated).toEqual({ params: original.params, fp8_metas: { x_scale: 3 } });
    expect(updated.params).toBe(original.params);
    expect(updateCollections({ cache: 1 }, original)).toEqual({ ...original, cache: 1 });
    expect(updateCollections({}, original)).toEqual(original);
    expect(updateCollections(original, {})).toEqual(original);
  });

  it("changes neither argument", () => {
    const fresh = { fp8_metas: { x_scale: 3 } };
    const before = structuredClone([fresh, original]);
    expect(updateCollections(fresh, original)).not.toBe(original);
    expect([fresh, original]).toEqual(before);
  });

  it("is frozen if the original is", () => {
    const fresh = { fp8_metas: {} };
    expect(Object.isFrozen(updateCollections(fresh, Object.freeze({ ...original })))).toBe(true);
    expect(Object.isFrozen(updateCollections(Object.freeze(fresh), { ...original }))).toBe(false);
  });

  it.each([[null], [undefined], [3], [[1]], [new Map()], ["x"]])("rejects %o", (value) => {
    expectError("option", /the new collections must be a plain object/, () =>
      updateCollections(value as never, original),
    );
    expectError("option", /the original collections must be a plain object/, () =>
      updateCollections({}, value as never),
    );
  });
});
