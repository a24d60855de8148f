/** The README's table of names against what the packages export. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../../..");
const readme = readFileSync(join(root, "README.md"), "utf8");

test("every name that the README's table promises is exported", async () => {
  const rows = readme
    .split("\n")
    .filter((line) => /^\| .*\| `@te\/[a-z]+` \|$/.test(line) && !line.includes("the same names"));
  expect(rows.length).toBeGreaterThan(12);
  for (const row of rows) {
    const [, , typescript, name] = row
      .split(" | ")
      .join("|")
      .split("|")
      .map((cell) => cell.trim());
    const exported = await import(name!.replaceAll("`", ""));
    const names = [
      ...typescript!.matchAll(
        /(?:new |`|, `|using _ = )([A-Z][A-Za-z]+|fp8Autocast|updateCollections|global\w+|extend\w+)/g,
      ),
    ];
    for (const [, identifier] of names) expect(exported, row).toHaveProperty(identifier!);
  }
});
