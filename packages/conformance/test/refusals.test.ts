/** Every refusal in the list happens, with a code and a message that says where. */
import { describe, expect, test } from "vitest";
import { REFUSALS, tryRefusal } from "../src/refusals.js";

describe("what is refused", () => {
  test.each(REFUSALS.map((refusal) => [refusal.row, refusal.what, refusal] as const))("%s: %s", (_, what, refusal) => {
    const { code, message } = tryRefusal(refusal);
    expect(code, `${what} must be refused`).toMatch(/^(option|shape|dtype|state|unsupported)$/);
    // It says where, and what was wrong.
    expect(message).toMatch(/^\w[\w.]*: .+/);
  });
});
