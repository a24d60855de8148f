// `npm run test:sanitize`: native code under sanitizers, with the cases of every op and its own tests.
import { join } from "node:path";
import { become, INTERRUPTED } from "./become.mjs";
import { nativeTests } from "./native-tests.mjs";
import { buildNative } from "./setup/native.mjs";
import { ask, root, say } from "./setup/shell.mjs";

const folder = "build-sanitize";

/** Builds the native code with the address and undefined-behaviour sanitizers; runs every op's cases and its own tests on it. */
export async function testSanitize(args) {
  const env = sanitizedEnvironment();
  if (!env) return 1;
  const cases = await become(process.execPath, [join(root, "node_modules/vitest/vitest.mjs"), "run", ...args], {
    cwd: join(root, "packages/kernels-cpu"),
    env,
  });
  if (args.length > 0 || cases !== 0) return cases;
  const counts = await nativeTests(folder, { env: { ASAN_OPTIONS: "detect_leaks=0" } });
  return counts ? Math.min(counts.failed, 1) : INTERRUPTED;
}

/** Builds the native code with the sanitizers; gives what a process that loads it needs, or undefined after saying what lacks. */
export function sanitizedEnvironment() {
  if (!buildNative({ folder, options: ["-DTE_SANITIZE=ON"] })) return undefined;
  // Node itself is not instrumented, so the runtime must be loaded before it; libstdc++ too, or throwing aborts.
  const libraries = ["libasan.so", "libubsan.so", "libstdc++.so"].map((name) =>
    ask("c++", [`-print-file-name=${name}`]),
  );
  if (libraries.some((path) => !path?.includes("/"))) {
    say("Sanitized code needs the sanitizer runtimes of the C++ compiler (libasan, libubsan).");
    return undefined;
  }
  return {
    LD_PRELOAD: libraries.join(" "),
    ASAN_OPTIONS: "detect_leaks=0:abort_on_error=1",
    UBSAN_OPTIONS: "print_stacktrace=1:halt_on_error=1",
    TE_NATIVE_DIR: join(root, "native", folder),
    TE_SANITIZE: "1",
  };
}
