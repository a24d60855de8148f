/** The suite that holds gradients of ops against finite differences. */
import type { Case } from "@te/tensor/op";
import { describe, expect, test } from "vitest";
import { type BackendSuiteOptions, casesOf, judgedOps } from "./backend-suite.js";
import { gradientOfCase } from "./gradient.js";
import { findCaseGradientError } from "./gradient-check.js";
import { findOp } from "./oracle.js";

/** float64 arithmetic throughout: a narrow dtype would only round the inputs and repeat the float32 case. */
const isNarrow = (of: Case): boolean =>
  Object.values(of.inputs).some(({ dtype }) => dtype === "bfloat16" || dtype === "float16");

/** Declares one test for every case of every op that has a gradient: against finite differences in float64. */
export function testGradients({ ops = judgedOps() }: BackendSuiteOptions = {}): void {
  describe("gradients against finite differences", () => {
    for (const op of ops.map(findOp)) {
      const cases = casesOf(op).filter((of) => !isNarrow(of) && gradientOfCase(op, of));
      for (const of of cases) {
        test(`${op.name} ${of.name}`, () => {
          const found = findCaseGradientError(op, of);
          if (found) expect.fail(found);
        });
      }
    }
  });
}
