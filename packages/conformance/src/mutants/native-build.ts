/** Builds of native tests with a mistake planted: from a copy of the sources, for the lowest instruction set. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join, relative } from "node:path";
import { applyEdit, type Edit } from "../../../../scripts/mutant.js";
import { root } from "../run-tests.js";
import type { CudaMutant } from "./cuda.js";
import { isSanitized, NATIVE_TESTS, type NativeMutant, type NativeTest } from "./native.js";

const native = join(root, "native");
const folder = join(native, "build-mutants");
const copy = join(folder, "source");
const SOURCES = ["core", "cpu", "cuda", "emulator", "include", "node", "plan", "test"];

function filesOf(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesOf(path) : [path];
  });
}

/** Makes the copy that of the sources with the edit. What does not differ is not written, so that it is not compiled again. */
function copySources(edit?: Edit): void {
  const sources = SOURCES.flatMap((name) => filesOf(join(native, name)));
  const wanted = new Set<string>();
  for (const path of [join(native, "CMakeLists.txt"), ...sources]) {
    const to = join(copy, relative(native, path));
    wanted.add(to);
    const source = readFileSync(path, "utf8");
    const text = edit && relative(root, path) === edit.file ? applyEdit(source, edit) : source;
    if (existsSync(to) && readFileSync(to, "utf8") === text) continue;
    mkdirSync(dirname(to), { recursive: true });
    writeFileSync(to, text);
  }
  for (const path of filesOf(copy)) if (!wanted.has(path)) rmSync(path);
}

interface Ended {
  readonly code: number;
  readonly log: string;
}

function execute(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  timeout?: number,
): Promise<Ended> {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { env: { ...process.env, ...env }, timeout });
    let log = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (log += chunk));
    child.on("error", fail);
    child.on("close", (code) => done({ code: code ?? 1, log }));
  });
}

async function make(what: string, ...steps: readonly (readonly string[])[]): Promise<void> {
  for (const step of steps) {
    const { code, log } = await execute("cmake", step);
    if (code !== 0) throw new Error(`${what} did not build:\n${log.slice(-2000)}`);
  }
}

const cores = String(availableParallelism());

/** Milliseconds for a test. */
const PATIENCE = 300_000;

/** Builds the test and runs it. Gives the first line of its complaint, or undefined where it passes. */
async function buildAndRun(test: NativeTest): Promise<string | undefined> {
  const build = join(folder, test);
  const kernels = `-DTE_ONLY=${NATIVE_TESTS[test].join(";")}`;
  const sanitize = `-DTE_SANITIZE=${isSanitized(test) ? "ON" : "OFF"}`;
  const options = [kernels, sanitize, "-DTE_ADDON=OFF", "-DTE_CUDA=OFF", "-DTE_ISAS=scalar"];
  await make(test, ["-S", copy, "-B", build, ...options], ["--build", build, "--parallel", cores, "--target", test]);
  const env = { TE_TIMES: "0", ASAN_OPTIONS: "detect_leaks=0" };
  const { code, log } = await execute(join(build, test), [], env, PATIENCE); // it may wait for itself
  if (code === 0) return undefined;
  return log.split("\n").find((line) => /FAILED|ERROR|runtime error/.test(line)) ?? `exit code ${code}`;
}

/** Throws unless the test passes without a mistake: one that fails anyway would catch everything. */
export async function checkNative(test: NativeTest): Promise<void> {
  copySources();
  const why = await buildAndRun(test);
  if (why) throw new Error(`${test} fails without a mistake: ${why}`);
}

/** What the test says about the mistake, or undefined where it does not see it. */
export function runNative(mutant: NativeMutant): Promise<string | undefined> {
  copySources(mutant);
  return buildAndRun(mutant.test);
}

/** Builds the kernels of GPUs on the emulator with its checker. Gives the folder of the addon. */
export async function buildCuda(mutant?: CudaMutant): Promise<string> {
  copySources(mutant);
  const build = join(folder, "cuda");
  await make(
    "te_cuda_checked.node",
    ["-S", copy, "-B", build, "-DTE_ISAS=scalar", `-DTE_NODE_MODULES=${join(root, "node_modules")}`],
    ["--build", build, "--parallel", cores, "--target", "te_cuda_checked", "te_emulated_cublaslt"],
  );
  return build;
}

/** Whether the headers of CUDA are there, which the emulator needs. */
export const hasCudaHeaders = (): boolean => existsSync(join(native, "build", "te_cuda_emulated.node"));
