import { existsSync } from "node:fs";
import { join } from "node:path";
import { mergeConfig } from "vitest/config";
import { packageTests } from "../../scripts/vitest.ts";

const build = process.env.TE_NATIVE_DIR || join(import.meta.dirname, "../../native/build");
const hasEmulator = process.env.TE_KERNELS !== "off" && existsSync(join(build, "te_cuda_emulated.node"));

/** Without CUDA's headers there is no emulator, and nothing to run kernels on. ops.test.ts says so. */
export default hasEmulator
  ? packageTests
  : mergeConfig(packageTests, { test: { exclude: ["test/!(ops|sources|compiled).test.ts"] } });
