/** Every mutant still finds the text that it replaces, and only its own file is compiled with the edit. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { applyEdit, plantEdit } from "../../../scripts/mutant.js";
import { CUDA } from "../src/mutants/cuda.js";
import { MUTANTS } from "../src/mutants/mutants.js";
import { NATIVE } from "../src/mutants/native.js";
import { root } from "../src/run-tests.js";

describe("mutants", () => {
  test.each([...MUTANTS, ...NATIVE, ...CUDA].map((mutant) => [mutant.name, mutant] as const))(
    "%s: the text to replace is there",
    (_, edit) => {
      const source = readFileSync(join(root, edit.file), "utf8");
      expect(applyEdit(source, edit)).not.toBe(source);
    },
  );

  test("a text that is gone, or there twice, is an error", () => {
    const edit = { file: "a.ts", from: "x + 1", to: "x" };
    expect(() => applyEdit("x - 1", edit)).toThrow('a.ts has 0 places that read "x + 1"');
    expect(() => applyEdit("x + 1; x + 1", edit)).toThrow("2 places");
  });

  test("only the file of the edit is compiled with it", () => {
    const { transform } = plantEdit({ file: "a.ts", from: "1", to: "$&2" }) as unknown as {
      transform: (code: string, id: string) => string | undefined;
    };
    expect(transform("x + 1", join(root, "a.ts"))).toBe("x + $&2");
    expect(transform("x + 1", join(root, "b/a.ts"))).toBeUndefined();
  });
});
