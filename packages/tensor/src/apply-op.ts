/** The call of an op: checked, then recorded in the open trace, or run at once as a program of one op. */
import { fail } from "./errors.js";
import type { OpDefinition, Params } from "./op.js";
import { checkInputs, completeParams } from "./op-check.js";
import { runEager } from "./program/eager.js";
import type { Tensor } from "./tensor.js";
import { currentTrace } from "./trace.js";

/**
 * Records the op in the open trace, or runs it now. `inputs` are in the order of the op's names, and optional ones may be
 * undefined; parameters left out take their defaults. Throws TeError for inputs and parameters that the op does not take.
 */
export function applyOp(op: OpDefinition, inputs: readonly (Tensor | undefined)[], params?: Params): Tensor[] {
  checkInputs(op, inputs);
  const complete = completeParams(op, params);
  const trace = currentTrace();
  if (trace) return trace.record(op, inputs, complete);
  for (const input of inputs) {
    if (input?.trace) {
      fail(
        "traced",
        op.name,
        "a traced tensor was used after its trace ended",
        input,
        "Return it from the traced function instead of storing it.",
      );
    }
  }
  return runEager(op, inputs, complete);
}
