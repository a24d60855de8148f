/** The expectation that a call throws a TeError. */
import { TeError } from "@te/tensor";
import { expect } from "vitest";

/** Expects a TeError with this code whose message matches. */
export function expectError(code: string, message: RegExp, fn: () => unknown): void {
  let error: unknown;
  try {
    fn();
  } catch (thrown) {
    error = thrown;
  }
  expect(TeError.is(error), `a TeError, got ${error}`).toBe(true);
  expect((error as TeError).message).toMatch(message);
  expect((error as TeError).code).toBe(code);
}
