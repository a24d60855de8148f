// `npm run test:gpu`: what the emulator cannot prove, on a GPU of this machine: op cases, train steps, conformance, and a sample
// of cases under NVIDIA's checkers of memory and races.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { become, INTERRUPTED } from "./become.mjs";
import { buildNative } from "./setup/native.mjs";
import { ask, root, say, which } from "./setup/shell.mjs";
import { add, addReports, emptyReports } from "./test-report.mjs";

const source = ["--conditions=@te/source", "--import", "tsx", "--expose-gc"];
const vitest = join(root, "node_modules/vitest/vitest.mjs");
// For the tests that would choose the emulator; elsewhere it is what the caller has set.
const onGpu = { TE_CUDA_EMULATED: process.env.TE_CUDA_EMULATED ?? "" };

/** Runs all of it and ends with a line that adds it up; without a GPU it says why there is none. */
export async function testGpu() {
  if (!buildNative()) return 1;
  const reason = whyNot();
  if (reason) {
    say(`There is no GPU to test: ${reason}.`);
    return 1;
  }
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const folder of ["packages/kernels-cuda", "examples/char-lm", "examples/mnist"]) {
    const filter = folder.startsWith("examples") ? ["test/cuda.test.ts"] : [];
    const env = { ...onGpu, TE_TEST_REPORT: emptyReports() };
    const code = await become(process.execPath, [vitest, "run", ...filter], { cwd: join(root, folder), env });
    if (code === INTERRUPTED) return code;
    add(total, addReports(code));
  }
  for (const [name, command, args] of programs()) {
    say(`${name}…`);
    const code = await become(command, args, { env: onGpu });
    if (code === INTERRUPTED) return code;
    add(total, code === 0 ? { passed: 1 } : { failed: 1 });
  }
  console.log(`${total.passed} passed, ${total.failed} failed`);
  return Math.min(total.failed, 1);
}

/** Why the device "cuda" is not there; nothing where it is. */
function whyNot() {
  const program = `import("@te/kernels-cuda").then(({ cudaInfo }) => console.log(cudaInfo().reason ?? ""))`;
  process.env.TE_CUDA_EMULATED ??= "";
  return ask(process.execPath, [...source, "-e", program]) ?? "@te/kernels-cuda does not load";
}

/** What is no test of vitest: each passes with exit code 0. */
function programs() {
  const work = mkdtempSync(join(tmpdir(), "te-gpu-"));
  process.on("exit", () => rmSync(work, { recursive: true, force: true }));
  const script = (name, ...args) => [...source, join(root, name), ...args];
  const train = script("scripts/gpu/train.ts", "--out", join(work, "train.json"));
  const conformance = script("packages/conformance/src/main.ts", "--device", "cuda");
  const sample = script("scripts/gpu/cases.ts", "--sample", "6", "--seconds", "120", "--out", join(work, "cases.json"));
  const checkers = which("compute-sanitizer") ? ["memcheck", "racecheck"] : [];
  if (checkers.length === 0) say("compute-sanitizer is not here: no case runs under it.");
  return [
    ["The train step against the CPU", process.execPath, train],
    ["Conformance on the GPU", process.execPath, conformance],
    ...checkers.map((tool) => [
      `A sample of the cases under ${tool}`,
      "compute-sanitizer",
      ["--tool", tool, "--error-exitcode", "9", process.execPath, ...sample],
    ]),
  ];
}
