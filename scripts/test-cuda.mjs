// `npm run test:cuda`: the tests of CUDA's kernels and their device on the emulator, which needs no GPU.
import { join } from "node:path";
import { become, INTERRUPTED } from "./become.mjs";
import { cudaTests, hasEmulator } from "./native-tests.mjs";
import { buildNative } from "./setup/native.mjs";
import { root } from "./setup/shell.mjs";
import { add, addReports, emptyReports } from "./test-report.mjs";

/** Runs the tests of @te/kernels-cuda and of native/test/cuda; with arguments, which are vitest's, the first alone. */
export async function testCuda(args) {
  if (!buildNative()) return 1;
  if (!hasEmulator("build")) return 0;
  const code = await become(process.execPath, [join(root, "node_modules/vitest/vitest.mjs"), "run", ...args], {
    cwd: join(root, "packages/kernels-cuda"),
    env: { TE_TEST_REPORT: emptyReports() },
  });
  if (code === INTERRUPTED) return code;
  const total = addReports(code);
  const native = args.length === 0 ? await cudaTests("build") : { passed: 0, failed: 0 };
  if (!native) return INTERRUPTED;
  add(total, native);
  console.log(`${total.passed} passed, ${total.failed} failed`);
  return Math.min(total.failed, 1);
}
