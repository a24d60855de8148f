/** Trees: what is a leaf, in which order leaves come, and that they come back as they were. */
import { type Tensor, tensor, tree } from "@te/tensor";
import { describe, expect, test } from "vitest";

const t = tensor([1]);
const sample = { b: [t, null, 2], a: { c: "leaf" }, z: undefined };

describe("trees", () => {
  test("flatten in sorted order of keys and come back", () => {
    const [leaves, definition] = tree.flatten(sample);
    expect(leaves).toEqual(["leaf", t, 2]);
    expect(tree.unflatten(definition, leaves)).toEqual(sample);
    expect(tree.flatten({ x: 1, y: 2 })[1]).toEqual(tree.flatten({ y: 5, x: 6 })[1]);
  });
  test("anything but plain objects, arrays and null is a leaf", () => {
    const date = new Date(0);
    expect(tree.flatten({ date, t })[0]).toEqual([date, t]);
    expect(tree.flatten(Object.assign(Object.create(null), { k: 1 }))[0]).toEqual([1]);
  });
  test("map goes through several trees side by side", () => {
    expect(tree.map((a: number, b: number) => a + b, { x: [1, null], y: 2 }, { x: [10, null], y: 20 })).toEqual({
      x: [11, null],
      y: 22,
    });
    expect(() => tree.map((a: number) => a, [1, 2], [1])).toThrow(
      /tree.map: tree 2 must have the structure of the first/,
    );
  });
  test("leaves with their paths", () => {
    const paths = tree.leavesWithPath({ layer: { kernel: t, list: [t as Tensor] } }).map(({ path }) => path.join("/"));
    expect(paths).toEqual(["layer/kernel", "layer/list/0"]);
  });
  test("unflatten needs as many leaves as there are places", () => {
    expect(() => tree.unflatten(tree.flatten([1, 2])[1], [1, 2, 3])).toThrow(/the tree has 2 leaves, got 3 leaves/);
  });
  test("keys that objects have anyway are keys", () => {
    const odd = JSON.parse('{"__proto__": 1, "constructor": 2}');
    const [leaves, definition] = tree.flatten(odd);
    expect(leaves).toEqual([1, 2]);
    expect(Object.keys(tree.unflatten(definition, leaves) as object).sort()).toEqual(["__proto__", "constructor"]);
  });
});
