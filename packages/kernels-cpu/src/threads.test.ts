/** The number of threads: what can be had is used, and what was asked for in vain is said once. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { loadNative, setThreads } from "./index.js";

const found = loadNative();
const path = "path" in found ? found.path : "";
const call = promisify(execFile);

/** Runs exp over a million numbers in a process of its own, and gives the result, the threads and what was wrong. */
async function run(
  env: NodeJS.ProcessEnv,
  limit = "true",
): Promise<{ y: number; threads: number; problems: string[] }> {
  const source = `
    const native = require(${JSON.stringify(path)});
    const n = 1 << 20;
    const value = (kind) => ({ dtype: "float32", shape: [n], kind, at: 0 });
    const program = native.compile({ values: [value(0), value(2)], inputs: 1, outputs: [{ value: 1, alias: -1 }], arenaBytes: 0,
      nodes: [{ op: "elementwise", inputs: [0], outputs: [1], params: { code: ["exp float32 %0"], outputs: [1] } }] });
    const handles = Int32Array.of(native.fromArray(new Uint8Array(4 * n)), 0);
    native.run(program, handles.buffer);
    const into = new Float32Array(n);
    native.readSync(handles[1], new Uint8Array(into.buffer));
    require("node:fs").promises.readFile(process.execPath, { encoding: "latin1" }).then(() => {
      const { threads, problems } = native.info();
      console.log(JSON.stringify({ y: into[n - 1], threads, problems }));
    });`;
  const { stdout, stderr } = await call("bash", ["-c", `${limit} && exec "$0" "$@"`, process.execPath, "-e", source], {
    env: { ...process.env, ...env },
    timeout: 60_000,
  });
  expect(stderr).toBe("");
  return JSON.parse(stdout);
}

describe.skipIf(!path)("TE_NUM_THREADS", () => {
  test.each(["0", "-1", "lots", "1e9", "2.5", " 3", "0x10"])(
    "%j is named, and the usual number is used",
    async (value) => {
      const usual = await run({ TE_NUM_THREADS: "" });
      expect(usual.problems).toEqual([]);
      const { y, threads, problems } = await run({ TE_NUM_THREADS: value });
      expect({ y, threads }).toEqual({ y: 1, threads: usual.threads });
      expect(problems).toEqual([expect.stringContaining(`TE_NUM_THREADS must be an integer from 1 to `)]);
      expect(problems[0]).toContain(`got "${value}"; ${threads} thread`);
    },
  );

  test.each(["5000", "99999999999", "99999999999999999999999"])("%s is bounded, and says so", async (value) => {
    const { y, threads, problems } = await run({ TE_NUM_THREADS: value });
    expect(y).toBe(1);
    expect(threads).toBeGreaterThanOrEqual(64);
    expect(threads).toBeLessThan(5000);
    expect(problems).toEqual([expect.stringContaining(`; ${threads} threads are used.`)]);
  });

  test("a number that can be had is taken", async () => {
    expect(await run({ TE_NUM_THREADS: "3" })).toEqual({ y: 1, threads: 3, problems: [] });
  });
});

// Sanitizers reserve terabytes of addresses for themselves.
const limited = path && process.platform === "linux" && process.env.TE_SANITIZE !== "1";

describe.skipIf(!limited)("where few threads can be started", () => {
  test("the stacks do not fit into the address space: as many as fit, and Node.js goes on", async () => {
    const { y, threads, problems } = await run({ TE_NUM_THREADS: "48" }, "ulimit -s 1000000 -v 24000000");
    expect(y).toBe(1);
    expect(threads).toBeLessThan(24);
    expect(problems).toEqual([
      expect.stringMatching(/^48 threads cannot be started .*; \d+ threads? (is|are) used\.$/),
    ]);
  });
});

test("setThreads refuses what is no number of threads", () => {
  for (const count of [0, -1, 2.5, Number.NaN, Number.POSITIVE_INFINITY, "4"])
    expect(() => setThreads(count as number), String(count)).toThrow(/setThreads: count must be an integer from 1 up/);
});

test.skipIf(!path)("an unknown TE_CPU_ISA is named, and the best of the processor is used", async () => {
  const usual = await run({});
  const { problems } = await run({ TE_CPU_ISA: "sse9" });
  expect(usual.problems).toEqual([]);
  expect(problems).toEqual([
    expect.stringMatching(
      process.arch === "arm64"
        ? /^TE_CPU_ISA must be scalar, neon or neon_bf16, got "sse9"; \w+ is used\.$/
        : /^TE_CPU_ISA must be scalar, avx2, avx512, avx512_bf16 or amx, got "sse9"; \w+ is used\.$/,
    ),
  ]);
});
