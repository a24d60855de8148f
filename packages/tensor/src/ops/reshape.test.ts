/** Reshapes, transposes and broadcasts: the shapes that they work out, and those that they refuse. */
import { describe, expect, test } from "vitest";
import { arange, broadcastTo, moveAxis, tensor } from "../index.js";

const x = arange(24).reshape([2, 3, 4]);

describe("reshape", () => {
  test("works out one -1", () => expect(x.reshape([4, -1]).shape).toEqual([4, 6]));
  test("refuses two, or one that does not fit", () => {
    expect(() => x.reshape([-1, -1])).toThrow(/reshape: one -1 may stand/);
    expect(() => x.reshape([5, -1])).toThrow(/makes 24 elements, got \[5, -1\]/);
    expect(() => x.reshape([5, 5])).toThrow(/\[5,5\] has 25 elements and must have 24, got int32\[2,3,4\]/);
  });
  test("squeeze and expandDims", () => {
    expect(x.expandDims([0, -1]).shape).toEqual([1, 2, 3, 4, 1]);
    expect(x.expandDims([0, -1]).squeeze().shape).toEqual([2, 3, 4]);
    expect(x.expandDims(1).squeeze(1).shape).toEqual([2, 3, 4]);
    expect(() => x.squeeze(0)).toThrow(/squeeze: axis 0 must have length 1, got int32\[2,3,4\]/);
  });
});

describe("transpose", () => {
  test("reverses, permutes, swaps and moves", async () => {
    expect(x.T.shape).toEqual([4, 3, 2]);
    expect(x.transpose([1, 0, 2]).shape).toEqual([3, 2, 4]);
    expect(x.swapAxes(0, -1).shape).toEqual([4, 3, 2]);
    expect(moveAxis(x, 0, -1).shape).toEqual([3, 4, 2]);
    expect(await x.transpose([2, 0, 1]).at(1, 1, 2).item()).toBe(await x.at(1, 2, 1).item());
  });
  test("refuses a list that is no permutation", () => {
    expect(() => x.transpose([0, 0, 1])).toThrow(/perm must hold each axis of x \(0 to 2\) once, got \[0, 0, 1\]/);
  });
});

test("broadcastTo refuses to shrink", () => {
  expect(() => broadcastTo(tensor([[1], [2]]), [2])).toThrow(/broadcastTo: x must broadcast to \[2\]|do not broadcast/);
});
