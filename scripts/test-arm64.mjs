// `npm run test:arm64`: the CPU kernels compiled for arm64, and their tests under qemu-user.
import { INTERRUPTED } from "./become.mjs";
import { arm64Tests } from "./native-tests.mjs";
import { ARM64_FOLDER, buildForArm64 } from "./setup/arm64.mjs";

/** Builds te_cpu.node and the tests of native/test for arm64, and runs these on a processor without and one with bfloat16. */
export async function testArm64() {
  if (!buildForArm64()) return 1;
  const counts = await arm64Tests(ARM64_FOLDER);
  return counts ? Math.min(counts.failed, 1) : INTERRUPTED;
}
