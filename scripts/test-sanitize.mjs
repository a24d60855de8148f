import { readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { become, INTERRUPTED } from "./become.mjs";
import { buildNative } from "./setup/native.mjs";
import { ask, call, root, say } from "./setup/shell.mjs";

/** Builds the native code with the address and undefined-behaviour sanitizers; runs every op's cases and its own tests on it. */
export async function testSanitize(args) {
  const folder = "build-sanitize";
  if (!buildNative({ folder, options: ["-DTE_SANITIZE=ON"] })) return 1;

  // Node itself is not instrumented, so the runtime must be loaded before it; libstdc++ too, or throwing aborts.
  const libraries = ["libasan.so", "libubsan.so", "libstdc++.so"].map((name) =>
    ask("c++", [`-print-file-name=${name}`]),
  );
  if (libraries.some((path) => !path?.includes("/"))) {
    say("test:sanitize needs the sanitizer runtimes of the C++ compiler (libasan, libubsan).");
    return 1;
  }
  const cases = await become(process.execPath, [join(root, "node_modules/vitest/vitest.mjs"), "run", ...args], {
    cwd: join(root, "packages/kernels-cpu"),
    env: {
      LD_PRELOAD: libraries.join(" "),
      ASAN_OPTIONS: "detect_leaks=0:abort_on_error=1",
      UBSAN_OPTIONS: "print_stacktrace=1:halt_on_error=1",
      TE_NATIVE_DIR: join(root, "native", folder),
      TE_SANITIZE: "1",
    },
  });
  return args.length > 0 || cases !== 0 ? cases : nativeTests(join(root, "native", folder));
}

/** Runs the tests of native/test, which reach what no op case does. */
async function nativeTests(build) {
  say("Building the tests of native/test (once, a few minutes)…");
  const log = join(build, "te-tests.log");
  if (call("cmake", ["--build", build, "--target", "te_tests"], { log }) !== 0) {
    say(`The native tests did not build; see ${relative(root, log)}.`);
    return 1;
  }
  const tests = readdirSync(build).filter((name) => name.endsWith("_test"));
  const env = { TE_TIMES: "0" };
  const failed = [];
  for (const name of tests) {
    const code = await become(join(build, name), [], { env });
    if (code === INTERRUPTED) return code;
    if (code !== 0) failed.push(name);
  }
  say(`Native tests: ${tests.length - failed.length} passed${failed.length ? `, failed: ${failed.join(", ")}` : ""}.`);
  return failed.length > 0 ? 1 : 0;
}
