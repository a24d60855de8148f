/** The comparison of trees of tensors bit for bit that several tests share. */
import { Tensor, tree } from "@te/tensor";
import { findBitDifference } from "@te/testkit";
import { expect } from "vitest";

/** Expects two trees of one structure whose tensors are equal bit for bit. */
export function expectBits(actual: unknown, expected: unknown): void {
  const [actualLeaves, actualDefinition] = tree.flatten(actual);
  const [expectedLeaves, expectedDefinition] = tree.flatten(expected);
  expect(actualDefinition).toEqual(expectedDefinition);
  expectedLeaves.forEach((leaf, i) => {
    if (leaf instanceof Tensor) expect(findBitDifference(actualLeaves[i] as Tensor, leaf), `leaf ${i}`).toBeUndefined();
    else expect(actualLeaves[i]).toEqual(leaf);
  });
}
