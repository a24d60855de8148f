/** Mutants of source files: one edit in one place, made in the text or while tests compile the file. */
import { join } from "node:path";
import type { Plugin } from "vite";

/** One edit of one source file: the only place of `from` becomes `to`. The path starts at the root of the repository. */
export interface Edit {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

/** The source with the edit made. Throws where `from` does not stand in it exactly once. */
export function applyEdit(source: string, { file, from, to }: Edit): string {
  const places = source.split(from).length - 1;
  if (places !== 1) throw new Error(`${file} has ${places} places that read ${JSON.stringify(from)}; there must be 1.`);
  return source.replace(from, () => to);
}

/** Compiles the file with the edit in it, so that tests run against a mistake that no file has. */
export function plantEdit(edit: Edit): Plugin {
  const path = join(import.meta.dirname, "..", edit.file);
  return {
    name: "te-plant-edit",
    enforce: "pre",
    transform: (code, id) => (id.split("?")[0] === path ? applyEdit(code, edit) : undefined),
  };
}
