/** Rules that every kernel file keeps, and that no compiler checks. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { describe, expect, test } from "vitest";

const folder = join(import.meta.dirname, "../../../native/cuda");

function filesOf(path: string): string[] {
  return readdirSync(path).flatMap((name) => {
    const file = join(path, name);
    return statSync(file).isDirectory() ? filesOf(file) : [file];
  });
}

const files = filesOf(folder).filter((file) => /\.(cu|cuh)$/.test(file));
/** The text without comments. */
const codeOf = (file: string): string => readFileSync(file, "utf8").replace(/\/\/.*$/gm, "");

describe.each(files.map((file) => [relative(folder, file), file]))("%s", (_, file) => {
  test("says of every kernel how many threads it has", () => {
    const kernels = codeOf(file).match(/__global__[^(]*\(/g) ?? [];
    for (const kernel of kernels) expect(kernel).toContain("__launch_bounds__");
  });

  test("starts kernels by launch(), which the emulator knows", () => {
    expect(codeOf(file)).not.toContain("<<<");
  });

  test("leaves assembly to the files of instructions", () => {
    // formats.cuh holds conversions beside what they do in plain code, and is compiled at run time without other files.
    if (!["primitives.cuh", "hopper.cuh", "formats.cuh"].includes(basename(file)))
      expect(codeOf(file)).not.toMatch(/\basm\b/);
  });

  test("ends nothing on the GPU: a wrong value is reported", () => {
    expect(codeOf(file)).not.toMatch(/__trap|\bassert\s*\(/);
  });
});
