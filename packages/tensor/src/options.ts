/** Options objects: their names are checked, and what is left out takes its default. */
import { fail } from "./errors.js";

/**
 * A default for every option of T: the table from which names are checked. undefined where an option has no default, is
 * required, or has one that depends on others.
 */
export type Defaults<T> = { readonly [K in keyof Required<T>]: T[K] | undefined };

/** T with every option present; one whose default is undefined may still be. */
export type WithDefaults<T, D extends Defaults<T>> = {
  readonly [K in keyof Required<T>]: D[K] extends undefined ? T[K] : Exclude<T[K], undefined>;
};

/** The options with defaults in place of those left out or undefined. Throws as {@link checkOptions} does. */
export function withDefaults<T extends object, D extends Defaults<T>>(
  fn: string,
  options: T,
  defaults: D,
): WithDefaults<T, D> {
  checkOptions(fn, options, Object.keys(defaults));
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(given) } as WithDefaults<T, D>;
}

/** Throws a TeError unless `options` is an object whose keys are all among `known`; the error names the nearest one. */
export function checkOptions(fn: string, options: object, known: readonly string[]): void {
  if (typeof options !== "object" || options === null || Array.isArray(options))
    fail("option", fn, "options must be an object", options, `Options: ${known.join(", ")}.`);
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    const nearest = nearestName(key, known);
    const hint = nearest === undefined ? "" : `Did you mean ${nearest}? `;
    fail("option", fn, `unknown option ${key}`, undefined, `${hint}Options: ${known.join(", ")}.`);
  }
}

/** The name that differs in case and separators only, else the one with the fewest edits, else one that contains it. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_ ]/g, "");
  const wanted = plain(name);
  const [best] = known
    .map((candidate) => ({ candidate, edits: editDistance(wanted, plain(candidate)) }))
    .filter(({ candidate, edits }) => edits <= Math.max(wanted.length, candidate.length) / 3)
    .sort((a, b) => a.edits - b.edits);
  return best?.candidate ?? known.find((candidate) => wanted.length > 3 && plain(candidate).includes(wanted));
}

/** Least number of insertions, deletions and replacements that turn a into b. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++)
      next.push(Math.min(next[j]! + 1, row[j + 1]! + 1, row[j]! + (a[i] === b[j] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
