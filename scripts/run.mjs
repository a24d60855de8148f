// The entry of every root script. Uses nothing but Node, because it runs before `npm ci` has.
//   node scripts/run.mjs <command> [arguments]

import { join } from "node:path";
import { become } from "./become.mjs";
import { buildFor, buildNative } from "./setup/native.mjs";
import { installPackages } from "./setup/packages.mjs";
import { root, say } from "./setup/shell.mjs";

/** Runs a TypeScript program of this repository straight from its source. */
function program(path, args) {
  return become(process.execPath, [
    "--conditions=@te/source",
    "--import",
    "tsx",
    "--expose-gc",
    join(root, path),
    ...args,
  ]);
}

const commands = {
  async demo(args) {
    buildFor(args);
    return program("examples/char-lm/src/main.ts", args);
  },
  async bench(args) {
    buildFor(args);
    return program("packages/bench/src/main.ts", args);
  },
  async conformance(args) {
    buildFor(args);
    return program("packages/conformance/src/main.ts", args);
  },
  async plan(args) {
    return program("packages/plan/src/main.ts", args);
  },
  async mutants(args) {
    return program("packages/conformance/src/mutants/main.ts", args);
  },
  async fuzz(args) {
    if (args.includes("--sanitize")) {
      const env = (await import("./test-sanitize.mjs")).sanitizedEnvironment();
      if (!env) return 1;
      // For its children: it needs no sanitizers itself.
      process.env.TE_FUZZ_ENV = JSON.stringify(env);
    } else buildFor(args);
    return program("packages/fuzz/src/main.ts", args);
  },
  async native() {
    buildNative();
    return 0;
  },
  async build(args) {
    return (await import("./turbo.mjs")).turbo("build", args);
  },
  // turbo's "//#native" builds the kernels first.
  async test(args) {
    return (await import("./test.mjs")).test(args);
  },
  async "test:cuda"(args) {
    return (await import("./test-cuda.mjs")).testCuda(args);
  },
  async "test:gpu"(args) {
    return (await import("./test-gpu.mjs")).testGpu(args);
  },
  async "pack:gpu"(args) {
    return (await import("./pack-gpu.mjs")).packGpu(args);
  },
  async "test:arm64"(args) {
    return (await import("./test-arm64.mjs")).testArm64(args);
  },
  async "test:sanitize"(args) {
    return (await import("./test-sanitize.mjs")).testSanitize(args);
  },
  async docs() {
    return (await import("./docs/docs.mjs")).makeDocs();
  },
  async check() {
    return (await import("./check.mjs")).check();
  },
};

const [name, ...args] = process.argv.slice(2);
if (!Object.hasOwn(commands, name ?? "")) {
  say(`run.mjs: unknown command ${name ?? "(none)"}; it is one of ${Object.keys(commands).join(", ")}`);
  process.exit(2);
}
installPackages();
process.exitCode = await commands[name](args);
