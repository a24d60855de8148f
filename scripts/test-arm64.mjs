// `npm run test:arm64`: the CPU kernels compiled for arm64, and their tests under qemu-user.
import { INTERRUPTED } from "./become.mjs";
import { arm64Tests } from "./native-tests.mjs";
import { ARM64_FOLDER, ARM64_QUICK_FOLDER, buildForArm64, hasArm64Tools } from "./setup/arm64.mjs";

/**
 * Builds te_cpu.node and the tests of native/test for arm64, and runs these on a processor without and one with bfloat16.
 * --quick, for CI: the kernels of NEON alone and the tests that take seconds; nothing where compiler or emulator lack.
 */
export async function testArm64(args) {
  const quick = args.includes("--quick");
  if (!hasArm64Tools()) return quick ? 0 : 1;
  if (!buildForArm64({ quick })) return 1;
  const counts = await arm64Tests(quick ? ARM64_QUICK_FOLDER : ARM64_FOLDER, { quick });
  return counts ? Math.min(counts.failed, 1) : INTERRUPTED;
}
