/** Options objects: their names are checked, and what is left out takes its default. */
import { fail } from "./errors.js";
import { expectObject, expectString, expectStrings } from "./expect.js";

/**
 * A default for every option of T: the table from which names are checked. undefined where an option has no default, is
 * required, or has one that depends on others.
 */
export type Defaults<T> = { readonly [K in keyof Required<T>]: T[K] | undefined };

/** T with every option present; one whose default is undefined may still be. */
export type WithDefaults<T, D extends Defaults<T>> = {
  readonly [K in keyof Required<T>]: D[K] extends undefined ? T[K] : Exclude<T[K], undefined>;
};

/** What a default says of the values of its option. Numbers and strings say nothing: lists and null may stand for them. */
const KINDS: readonly { readonly called: string; has(value: unknown): boolean }[] = [
  { called: "true or false", has: (value) => typeof value === "boolean" },
  { called: "a function", has: (value) => typeof value === "function" },
  { called: "an array", has: Array.isArray },
];

/**
 * The options with defaults in place of those left out or undefined. Throws as {@link checkOptions} does, and where a
 * boolean, a function or an array is expected, as the default shows, and something else is given.
 */
export function withDefaults<T extends object, D extends Defaults<T>>(
  fn: string,
  options: T,
  defaults: D,
): WithDefaults<T, D> {
  expectObject("withDefaults", { defaults });
  checkOptions(fn, options, Object.keys(defaults));
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  for (const [name, value] of given) {
    const kind = KINDS.find(({ has }) => has(defaults[name as keyof T]));
    if (kind && !kind.has(value)) fail("option", fn, `${name} must be ${kind.called}`, value);
  }
  return { ...defaults, ...Object.fromEntries(given) } as WithDefaults<T, D>;
}

/** Throws a TeError unless `options` is an object whose keys are all among `known`; the error names the nearest one. */
export function checkOptions(fn: string, options: object, known: readonly string[]): void {
  expectStrings("checkOptions", { known });
  if (typeof options !== "object" || options === null || Array.isArray(options))
    fail("option", fn, "options must be an object", options ?? String(options), `Options: ${known.join(", ")}.`);
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    const nearest = nearestName(key, known);
    const hint = nearest === undefined ? "" : `Did you mean ${nearest}? `;
    const names = known.length ? `Options: ${known.join(", ")}.` : "There are no options.";
    fail("option", fn, `unknown option ${key}`, undefined, `${hint}${names}`);
  }
}

/** Throws a TeError unless a transformation was given a function. */
export function checkFunction(fn: string, f: unknown): void {
  if (typeof f !== "function") fail("option", fn, "the first argument must be a function", f ?? String(f));
}

/** The name that differs in case and separators only, else the one with the fewest edits, else one that contains it. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  expectString("nearestName", { name });
  expectStrings("nearestName", { known });
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_ ]/g, "");
  const wanted = plain(name);
  const [best] = known
    .map((candidate) => ({ candidate, edits: editDistance(wanted, plain(candidate)) }))
    .filter(({ candidate, edits }) => edits <= Math.max(wanted.length, candidate.length) / 3)
    .sort((a, b) => a.edits - b.edits);
  return best?.candidate ?? known.find((candidate) => wanted.length > 3 && plain(candidate).includes(wanted));
}

/** Least number of insertions, deletions, replacements and swaps of neighbours that turn a into b. */
function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const [row, above, twoAbove] = [[i], rows[i - 1]!, rows[i - 2]];
    for (let j = 1; j <= b.length; j++) {
      const replaced = above[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swaps = twoAbove && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swapped = swaps ? twoAbove[j - 2]! + 1 : replaced;
      row.push(Math.min(row[j - 1]! + 1, above[j]! + 1, replaced, swapped));
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
