/** Whether an error helps the one who gets it. */
import { ERROR_CODES, TeError } from "@te/tensor";
import { FromCallback } from "./nasty.js";

const LONGEST = 4000;

/** Words of errors that JavaScript raised where a check should have been. */
const RAW =
  /Cannot read propert|Cannot convert|Cannot mix|is not a function|is not iterable|call stack|Invalid array length/;

/** What is wrong with an error, or undefined: a TeError of the house form `function: rule, got value. way out`. */
export function findFault(error: unknown): string | undefined {
  if (error instanceof FromCallback || causedByCallback(error)) return undefined;
  if (!TeError.is(error)) return `no TeError but ${nameOf(error)}: ${messageOf(error)}${placeOf(error)}`;
  const { code, message } = error as TeError;
  if (!ERROR_CODES.includes(code)) return `an unknown code, ${code}: ${message}`;
  if (!/^[^\n]{1,300}?: .+[.!?`)"]$/s.test(message)) return `not of the form "function: rule, got value.": ${message}`;
  if (message.length > LONGEST) return `a message of ${message.length} characters: ${message.slice(0, 200)}…`;
  if (RAW.test(message)) return `words of JavaScript: ${message}`;
  return undefined;
}

const causedByCallback = (error: unknown): boolean =>
  error instanceof Error && error.cause !== undefined && error.cause instanceof FromCallback;

const nameOf = (error: unknown): string => (error instanceof Error ? error.constructor.name : typeof error);

function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}

/** The innermost line of this repository in the stack. */
function placeOf(error: unknown): string {
  const lines = error instanceof Error ? (error.stack ?? "").split("\n").slice(1) : [];
  const ours = lines.filter((line) => /packages\/(?!fuzz)/.test(line) && !line.includes("node_modules"));
  const at = ours[0]?.replace(/^.*packages\//, "packages/").replace(/\)$/, "");
  return at ? ` at ${at}` : "";
}
