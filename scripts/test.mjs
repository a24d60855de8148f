// `npm test`: the tests of all packages and of the native code, added up in one line.
import { INTERRUPTED } from "./become.mjs";
import { cudaTests, hasEmulator, nativeTests } from "./native-tests.mjs";
import { buildNative } from "./setup/native.mjs";
import { add, addReports, emptyReports } from "./test-report.mjs";
import { turbo } from "./turbo.mjs";

/** Runs every package's tests and those of the kernels, and ends with one line that adds them up. */
export async function test(args) {
  const code = await turbo("test", args, { env: { TE_TEST_REPORT: emptyReports() }, flags: ["--continue"] });
  const total = addReports(code);
  // With arguments some packages were asked for.
  const all = args.length === 0 && code !== INTERRUPTED;
  const suites = all && buildNative() ? [nativeTests, ...(hasEmulator("build") ? [cudaTests] : [])] : [];
  for (const suite of suites) {
    const counts = await suite("build");
    if (!counts) return INTERRUPTED;
    add(total, counts);
  }
  if (total.skipped > 0) console.log(`skipped: ${total.skipped}`);
  console.log(`tests: ${total.passed} passed, ${total.failed} failed`);
  return code || Math.min(total.failed, 1);
}
