/** Errors of other origin as errors of the house: those that native code, Node and the stack of a thread raise. */
import { describe, ERROR_CODES, TeError } from "./errors.js";

/** Turns an error of native code, which carries code and message, or of an allocation into a TeError. */
export function asTeError(error: unknown): TeError {
  if (TeError.is(error)) return error;
  if (error instanceof RangeError) return explainRangeError(error);
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  const known = ERROR_CODES.find((one) => one === code) ?? "backend";
  const text = typeof message === "string" ? message : `backend: a device must throw errors, got ${describe(error)}.`;
  return new TeError(known, text, { cause: error });
}

/** Whether an error says that calls are nested deeper than the stack of the thread. */
export const isStackOverflow = (error: unknown): boolean =>
  error instanceof RangeError && error.message.includes("call stack");

/** Node throws a RangeError for arrays that are too long or that memory does not hold, for a full stack, and for much else. */
function explainRangeError(error: RangeError): TeError {
  if (isStackOverflow(error)) {
    const wayOut = "Write a loop where a function calls itself, and flatter trees of arguments.";
    const message = `stack: functions and trees must not nest deeper than the stack holds, but ${error.message}. ${wayOut}`;
    return new TeError("state", message, { cause: error });
  }
  if (/allocation failed|invalid (typed )?array|maximum size exceeded/i.test(error.message)) {
    const message = `memory: every tensor must fit into memory, but ${error.message}. Split the work, or free tensors.`;
    return new TeError("memory", message, { cause: error });
  }
  return new TeError("backend", error.message, { cause: error });
}
