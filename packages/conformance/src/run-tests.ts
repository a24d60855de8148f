/** Runs test files of this repository and gives what each test compared. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import type { Recorded } from "@te/testkit/record";

export const root = resolve(import.meta.dirname, "../../..");

export interface TestResult {
  /** "layers/norm": package or example, and file without its endings. */
  readonly file: string;
  /** The titles from the outermost group on, without that of the device. */
  readonly title: string;
  /** The device that its group names; undefined where none does, and the test is the same on all. */
  readonly device: string | undefined;
  readonly passed: boolean;
  /** It did not run: its title says why. */
  readonly skipped?: true;
  readonly message: string | undefined;
  readonly compared: Recorded;
}

interface VitestReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly ancestorTitles: readonly string[];
      readonly title: string;
      readonly status: string;
      readonly failureMessages?: readonly string[];
      readonly meta: { readonly compared?: Recorded };
    }[];
  }[];
}

export interface RunOptions {
  /** Stop at the first test that fails. */
  readonly bail?: boolean;
  /** Only tests whose titles match this regular expression. */
  readonly titles?: string;
  /** Milliseconds that a test may take which does not say so itself. */
  readonly limit?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** Packages that know no kernels: their tests run on the reference, and with the kernels loaded for them on these. */
const KERNEL_FREE = /^(fp8|tensor)\//;

/**
 * Runs test files on every backend: those of packages that know no kernels once without and once with the native ones. With
 * a device all files run on that alone.
 */
export async function runOnBackends(files: readonly string[], device?: string): Promise<TestResult[]> {
  const free = files.filter((file) => KERNEL_FREE.test(file));
  const on = (device: string, tests: readonly TestResult[]) =>
    tests.map((test) => ({ ...test, device: test.device ?? (KERNEL_FREE.test(test.file) ? device : undefined) }));
  if (device) {
    const env = { TE_TEST_NATIVE: device, TE_TEST_DEVICE: device };
    return on(device, await runTests(files, { env, limit: 600_000 })); // an emulator takes long
  }
  const results = await runTests(files);
  const native = await runTests(free, { env: { TE_TEST_NATIVE: "1" } });
  return [...on("reference", results), ...on("cpu", native).filter(({ device }) => device !== "reference")];
}

/** Runs test files given as "layers/norm". Throws where one does not load; tests that fail are results. */
export async function runTests(
  files: readonly string[],
  { bail = false, titles, limit, env = {} }: RunOptions = {},
): Promise<TestResult[]> {
  // Without a file vitest would run them all.
  if (files.length === 0) return [];
  const folder = mkdtempSync(join(tmpdir(), "te-conformance-"));
  const output = join(folder, "report.json");
  const args = ["run", ...files.map((file) => pathOf(file)), "--reporter=json", `--outputFile=${output}`];
  if (bail) args.push("--bail=1");
  if (titles !== undefined) args.push("-t", titles);
  if (limit !== undefined) args.push(`--testTimeout=${limit}`);
  try {
    const log = await execute(args, { TE_TEST_REPORT: folder, ...env });
    return parse(readReport(output, log));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** "layers/norm" is packages/layers/test/norm.test.ts, "mnist/mnist" examples/mnist/test/mnist.test.ts. */
function pathOf(file: string): string {
  const folder = existsSync(join(root, "examples", dirname(file))) ? "examples" : "packages";
  return `${join(folder, file.replace("/", "/test/"))}.test.ts`;
}

function readReport(output: string, log: string): VitestReport {
  try {
    return JSON.parse(readFileSync(output, "utf8"));
  } catch {
    throw new Error(`conformance: vitest wrote no report:\n${log}`);
  }
}

/** Standard output and error of vitest, which matter when it fails to start. */
function execute(args: readonly string[], env: Readonly<Record<string, string>>): Promise<string> {
  return new Promise((done, fail) => {
    const child = spawn(join(root, "node_modules/.bin/vitest"), args, { cwd: root, env: { ...process.env, ...env } });
    let log = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (log += chunk));
    child.on("error", fail);
    child.on("close", () => done(log));
  });
}

function parse({ testResults }: VitestReport): TestResult[] {
  return testResults.flatMap(({ name, message, assertionResults }) => {
    const file = relative(root, name)
      .replace(/^(packages|examples)\//, "")
      .replace("/test/", "/")
      .replace(/\.test\.ts$/, "");
    if (message && assertionResults.length === 0) throw new Error(`conformance: ${file} does not load: ${message}`);
    return assertionResults
      .filter(({ status, title }) => status === "passed" || status === "failed" || title.startsWith("processes: "))
      .map(({ ancestorTitles, title, status, failureMessages, meta }) => {
        const device = ancestorTitles.find((t) => t.startsWith("on "))?.slice(3);
        const titles = [...ancestorTitles.filter((t) => t !== `on ${device}`), title];
        return {
          file,
          title: titles.join(" "),
          device,
          passed: status !== "failed",
          ...(status !== "passed" && status !== "failed" && { skipped: true as const }),
          message: failureMessages?.[0]?.split("\n")[0],
          compared: meta.compared ?? { within: [], beyond: [] },
        };
      });
  });
}
