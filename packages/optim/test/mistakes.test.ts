/** Arguments that are none: errors name the function when the optimizer is made, not at its first step. */
import { adamw, chain, clipByGlobalNorm, warmupCosineDecaySchedule } from "@te/optim";
import { expect, test } from "vitest";

test.each([
  [
    "a function that was not called",
    () => chain(adamw as never),
    /^chain: every argument .* got function adamw. Write/,
  ],
  ["a list", () => chain([clipByGlobalNorm(1)] as never), /^chain: every argument must be a transformation/],
  ["a norm in text", () => clipByGlobalNorm("1" as never), /^clipByGlobalNorm: maxNorm .* got "1"/],
  ["no steps", () => warmupCosineDecaySchedule({ peakValue: 1 } as never), /warmupSteps must .* got undefined/],
])("%s", (_, f, message) => {
  expect(f).toThrow(message);
});
