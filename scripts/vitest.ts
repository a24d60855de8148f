/** The configuration of every package's tests, and the environment variables that change it. */
import { basename, join } from "node:path";
import { defaultServerConditions } from "vite";
import { configDefaults, defineConfig } from "vitest/config";
import { plantEdit } from "./mutant.ts";

// "@te/source" makes `import "@te/tensor"` mean packages/tensor/src/index.ts: tests never see a stale build.
const conditions = ["@te/source", ...defaultServerConditions];
const slow = process.env.TE_SLOW === "1";
const report = process.env.TE_TEST_REPORT;
const mutant = process.env.TE_MUTANT;
const testkit = (file: string) => join(import.meta.dirname, "../packages/testkit/src", file);

/** Setup files by TE_TEST_NATIVE. */
const setUps: Readonly<Record<string, readonly string[]>> = {
  "1": ["native-setup.ts"],
  cuda: ["native-setup.ts", "cuda-setup.ts"],
};

/**
 * How every package runs its tests. Files named *.slow.test.ts run only with TE_SLOW=1. With TE_TEST_NATIVE=1 the native
 * kernels are there even for packages that do not know them, with TE_TEST_NATIVE=cuda those of GPUs too. TE_MUTANT holds an edit that the sources are compiled with.
 */
export const packageTests = defineConfig({
  plugins: mutant ? [plantEdit(JSON.parse(mutant))] : [],
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    exclude: slow ? configDefaults.exclude : [...configDefaults.exclude, "**/*.slow.test.ts"],
    passWithNoTests: true,
    setupFiles: [
      ...(report ? [testkit("record-setup.ts")] : []),
      ...(setUps[process.env.TE_TEST_NATIVE ?? ""] ?? []).map(testkit),
    ],
    // A native crash must take down one test file, not the run.
    pool: "forks",
    maxWorkers: "100%",
    testTimeout: 60_000,
    hookTimeout: 120_000,
    reporters: report
      ? ["default", ["json", { outputFile: join(report, `${basename(process.cwd())}.json`) }]]
      : ["default"],
  },
});
