/** Every op's cases on a backend, judged by the reference evaluator in float64. */
import { currentBackend, setDevice } from "@te/tensor";
import { type Case, CaseBuilder, definedOps, type OpDefinition } from "@te/tensor/op";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findOp } from "./oracle.js";
import { runCase } from "./run-case.js";
import { type Declined, declinedOps } from "./support.js";

export interface BackendSuiteOptions {
  /** Names of the ops to test; all that are defined by default. */
  readonly ops?: readonly string[];
  /**
   * Names of the ops that may have no kernel for some case. When given, any other declined op fails the test: without it
   * a kernel that got lost would go unnoticed, because its reference passes.
   */
  readonly mayDecline?: readonly string[];
}

/** The cases of an op that are small enough to judge: benchmarks are for timing. */
export const casesOf = (op: OpDefinition): Case[] => (op.cases?.(new CaseBuilder()) ?? []).filter((c) => !c.bench);

/** Every op defined so far that can be run, by name; of those that only mark a place there is nothing to run. */
export const judgedOps = (): string[] =>
  [...definedOps().values()].filter(({ transparent, barrier }) => !transparent && !barrier).map(({ name }) => name);

/**
 * Declares the tests of a backend, for each op and case: values and gradients against the oracle, jit against eager bit
 * for bit, and memory returned. An op without a kernel on this backend runs as its reference; its titles say so.
 */
export function testBackend(name: string, { ops = judgedOps(), mayDecline }: BackendSuiteOptions = {}): void {
  describe(`ops on ${name}`, () => {
    let before: string;
    beforeAll(() => {
      before = currentBackend().name;
      setDevice(name);
    });
    afterAll(() => setDevice(before));

    for (const op of ops.map(findOp)) {
      describe(op.name, () => {
        const cases = casesOf(op);
        if (!cases.length && !isTestedByForward(op)) {
          test("has cases", () => expect.fail(`${op.name} must have cases, or nothing tests it`));
        }
        for (const of of cases) {
          // The reference backend runs primitives only: composites are declined by design.
          const declined = name === "reference" ? [] : declinedOps(name, op, of);
          test(titleOf(of, declined), async () => {
            const lost = mayDecline && declined.find(({ op: lacking }) => !mayDecline.includes(lacking));
            if (lost) expect.fail(`${lost.op} must have a kernel on ${name}: ${lost.why}`);
            await runCase(op, of);
          });
        }
      });
    }
  });
}

/** The backward op of one that has cases: the gradients of those test it. */
function isTestedByForward({ name }: OpDefinition): boolean {
  const forward = name.endsWith("_backward") ? definedOps().get(name.slice(0, -"_backward".length)) : undefined;
  return forward !== undefined && casesOf(forward).length > 0;
}

/** The case, with the ops of it and its gradient that have no kernel. */
function titleOf({ name }: Case, declined: readonly Declined[]): string {
  const reasons = declined.map(({ op, why }) => `${op}: ${why}`);
  return reasons.length ? `${name} (declined → reference: ${reasons.join("; ")})` : name;
}
