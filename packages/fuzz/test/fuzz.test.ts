/** A short run on every push, and that the fuzzer sees what it is for. */
import { TeError } from "@te/tensor";
import { expect, test } from "vitest";
import { type Finding, runSession } from "../src/session.js";
import { findFault } from "../src/verdict.js";
import { unknownNames } from "../src/wrong-calls.js";

async function run(calls: number, from = 0, env: NodeJS.ProcessEnv = {}, limit = 20): Promise<Finding[]> {
  const found: Finding[] = [];
  await runSession({
    ...{ seed: 1, from, calls, jobs: 1, limit, memory: 3072, verbose: false, env },
    onFinding: (finding) => found.push(finding),
    onProgress: () => {},
  });
  return found;
}

test("a short run finds nothing", async () => {
  const found = await run(1500);
  expect(found.map(({ index, text, what }) => `${index} ${text}: ${what}`)).toEqual([]);
}, 120_000);

test.each([
  ["crash", /SIGABRT|134/],
  ["hang", /no answer within 2 s/],
  ["error", /no TeError but TypeError: planted/],
] as const)(
  "a %s is found with the call that made it, and the others go on",
  async (kind, what) => {
    const found = await run(4, 0, { TE_FUZZ_PLANT: `${kind} 1` }, 2);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatchObject({ kind, index: 1, what: expect.stringMatching(what) });
    expect(found[0]!.text).not.toBe("");
  },
  120_000,
);

test("errors are judged by their form", () => {
  expect(findFault(new TeError("option", "f: x must be a tensor, got 1. Make one with tensor()."))).toBeUndefined();
  expect(findFault(new TypeError("x is not iterable"))).toMatch(/no TeError but TypeError/);
  expect(findFault(new TeError("option", "oops"))).toMatch(/not of the form/);
  expect(findFault(new TeError("option", "f: Cannot read properties of undefined."))).toMatch(/words of JavaScript/);
  expect(findFault("text")).toMatch(/no TeError but string/);
});

test("right arguments are known for functions that exist", () => expect(unknownNames()).toEqual([]));
