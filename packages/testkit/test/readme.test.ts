import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { afterAll, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../../..");
const scratch = join(import.meta.dirname, "../out");
const readme = readFileSync(join(root, "README.md"), "utf8");

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

test("the example in README.md type-checks, runs and learns", () => {
  const [, code] = /<!-- example -->\n```ts\n([\s\S]*?)```/.exec(readme)!;
  mkdirSync(scratch, { recursive: true });
  writeFileSync(join(scratch, "example.ts"), code!);
  writeFileSync(
    join(scratch, "tsconfig.json"),
    JSON.stringify({ extends: "../../../tsconfig.base.json", files: ["example.ts"] }),
  );

  execFileSync(join(root, "node_modules/.bin/tsc"), ["-p", scratch], { stdio: "inherit" });
  const flags = ["--conditions=@te/source", "--import", "tsx"];
  const output = execFileSync(process.execPath, [...flags, "example.ts"], { cwd: scratch, encoding: "utf8" });

  const losses = output
    .trim()
    .split("\n")
    .map((line) => Number(line.split(" ")[1]));
  expect(losses).toHaveLength(20);
  expect(losses.at(-1)!).toBeLessThan(losses[0]! * 0.9);
});

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
