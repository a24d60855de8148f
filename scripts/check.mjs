// `npm run check`: everything that is judged without running a test.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { become } from "./become.mjs";
import { checkDocs } from "./docs/docs.mjs";
import { root, say, which } from "./setup/shell.mjs";

/** Formatting, lint, types and documentation of the whole tree. Runs all of them, then fails if one did. */
export async function check() {
  const bin = (name) => join(root, "node_modules/.bin", name);
  const codes = [
    await become(bin("biome"), ["check", "--error-on-warnings", "."]),
    await become(bin("tsc"), ["-p", "."]),
    await checkDocs(),
  ];
  if (which("clang-format")) codes.push(await become("clang-format", ["--dry-run", "--Werror", ...nativeSources()]));
  else say("clang-format is not installed: the formatting of native/ was not checked.");
  return codes.find((code) => code !== 0) ?? 0;
}

function nativeSources() {
  const folders = ["include", "core", "cpu", "cuda", "comm", "node", "test"];
  const entries = readdirSync(join(root, "native"), { recursive: true });
  return entries
    .filter((path) => folders.includes(path.split("/")[0]) && /\.(cc|cu|cuh|h)$/.test(path))
    .map((path) => join("native", path));
}
