/** What a mutant is: a named edit of a source file, with the tests that should fail by it. */
import type { Edit } from "../../../../scripts/mutant.js";

/** A mistake that a test must catch: one edit of one source file, and the tests that are likely to see it. */
export interface Mutant extends Edit {
  readonly name: string;
  /** Files of tests as "package/file". */
  readonly tests: readonly string[];
}

/** A mistake in the file packages/`file`. */
export const mutant = (name: string, file: string, from: string, to: string, ...tests: string[]): Mutant => ({
  name,
  file: `packages/${file}`,
  from,
  to,
  tests,
});
