/** The folder that checks and measures a GPU elsewhere: made here, and run in small on the emulator. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "../../..");
const native = process.env.TE_NATIVE_DIR ?? join(root, "native/build");
const isThere =
  process.env.TE_KERNELS !== "off" &&
  ["te_cpu.node", "te_cuda_emulated.node"].every((file) => existsSync(join(native, file)));

const work = mkdtempSync(join(tmpdir(), "te-pack-gpu-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

test.runIf(isThere)(
  "what is packed runs without the repository, and writes what it found",
  { timeout: 300_000 },
  () => {
    const [folder, out] = [join(work, "gpu"), join(work, "out")];
    execFileSync(process.execPath, [join(root, "scripts/pack-gpu.mjs"), folder, "--bare"], { stdio: "pipe" });
    const { TE_KERNELS: _, NODE_OPTIONS: __, ...plain } = process.env;
    const env = {
      ...plain,
      TE_CUDA_EMULATED: "1",
      TE_NATIVE_DIR: native,
      TE_GPU_OPS: "softmax",
      TE_GPU_SECONDS: "280",
    };
    const { stdout, stderr } = spawnSync("bash", [join(folder, "run.sh"), out], { cwd: work, encoding: "utf8", env });
    const read = (file: string) => JSON.parse(readFileSync(join(out, file), "utf8"));
    const lines = readFileSync(join(out, "summary.jsonl"), "utf8").trim().split("\n");
    const parts: { part: string; rc: number; last: string }[] = lines.map((line) => JSON.parse(line));
    const all = "environment abi cases train bench torch memcheck racecheck jax".split(" ");
    expect(parts.map(({ part }) => part)).toEqual(all);
    expect(
      parts.filter(({ rc }) => rc !== 0),
      stdout + stderr,
    ).toEqual([]);
    expect(read("cases.json")).toMatchObject({ failed: [], left: 0, passed: expect.any(Number) });
    expect(read("train.json").rows).toHaveLength(3);
    const { card, rows } = read("bench.json");
    expect(card.commit).toBe(readFileSync(join(folder, "commit"), "utf8").trim());
    expect(rows.filter(({ ms }: { ms: unknown }) => typeof ms !== "number")).toEqual([]);
    expect(read("peers.json")).toMatchObject({ library: "torch" });
  },
);

test.runIf(isThere)("a part that fails or runs out of time is said, and the exit code too", () => {
  const folder = join(work, "gpu-again");
  execFileSync(process.execPath, [join(root, "scripts/pack-gpu.mjs"), folder, "--bare"], { stdio: "pipe" });
  const run = (seconds: string, ...parts: string[]) => {
    const out = mkdtempSync(join(work, "out-"));
    const env = { ...process.env, TE_CUDA_EMULATED: "1", TE_NATIVE_DIR: tmpdir(), TE_GPU_SECONDS: seconds };
    const { status } = spawnSync("bash", [join(folder, "run.sh"), out, ...parts], { encoding: "utf8", env });
    return [status, JSON.parse(readFileSync(join(out, "summary.jsonl"), "utf8").trim().split("\n").at(-1)!)];
  };
  expect(run("60", "cases")).toMatchObject([1, { part: "cases", rc: 1 }]);
  expect(run("1", "environment")).toMatchObject([1, { part: "environment", rc: 124, seconds: 0 }]);
});
