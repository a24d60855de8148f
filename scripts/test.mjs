// `npm test`: the tests of all packages and of the native code, added up in one line.
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { INTERRUPTED } from "./become.mjs";
import { nativeTests } from "./native-tests.mjs";
import { buildNative } from "./setup/native.mjs";
import { root } from "./setup/shell.mjs";
import { turbo } from "./turbo.mjs";

/** Runs every package's tests and those of the kernels, and ends with one line that adds them up. */
export async function test(args) {
  const folder = join(root, "node_modules/.te-tests");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });

  const code = await turbo("test", args, { env: { TE_TEST_REPORT: folder }, flags: ["--continue"] });

  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const name of readdirSync(folder)) {
    const counts = count(JSON.parse(readFileSync(join(folder, name), "utf8")));
    for (const key of Object.keys(total)) total[key] += counts[key];
  }
  // A package that ended badly without a failed test (a crash, an unhandled error) is a failure too.
  if (code !== 0 && total.failed === 0) total.failed = 1;
  // With arguments some packages were asked for.
  const all = args.length === 0 && code !== INTERRUPTED;
  const native = all && buildNative() ? await nativeTests("build") : { passed: 0, failed: 0 };
  if (!native) return INTERRUPTED;
  for (const key of Object.keys(native)) total[key] += native[key];
  if (total.skipped > 0) console.log(`skipped: ${total.skipped}`);
  console.log(`tests: ${total.passed} passed, ${total.failed} failed`);
  return code || Math.min(native.failed, 1);
}

function count(report) {
  const broken = report.testResults.filter((file) => file.status === "failed" && file.assertionResults.length === 0);
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + broken.length,
    skipped: report.numPendingTests + (report.numTodoTests ?? 0),
  };
}
