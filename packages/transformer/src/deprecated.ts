/** Names that the original deprecated: they take effect, or say which name does, and warn once per process. */
import { fail } from "@te/tensor/op";

const said = new Set<string>();

/** A DeprecationWarning of the process, once for each `what`. */
export function warnDeprecated(what: string, instead: string): void {
  if (said.has(what)) return;
  said.add(what);
  process.emitWarning(`${what} is deprecated. ${instead}`, "DeprecationWarning", "TE_DEPRECATED");
}

/**
 * The value of an option that has a deprecated name as well: the one that is given. Warns about the old name; both with
 * different values are an error.
 */
export function renamed<T>(
  fn: string,
  [old, oldValue]: [string, T | null | undefined],
  [name, value]: [string, T | undefined],
) {
  if (oldValue === undefined || oldValue === null) return value;
  warnDeprecated(`${fn}: the option ${old}`, `Use ${name}.`);
  return oneOf(fn, [old, oldValue], [name, value]);
}

/** The value of an option that has two names: the one that is given. Both with different values are an error. */
export function oneOf<T>(fn: string, [alias, other]: [string, T | undefined], [name, value]: [string, T | undefined]) {
  if (value !== undefined && other !== undefined && value !== other)
    fail(
      "option",
      fn,
      `${alias} is another name of ${name} and must agree with it`,
      [other, value],
      `Give ${name} alone.`,
    );
  return value ?? other;
}
