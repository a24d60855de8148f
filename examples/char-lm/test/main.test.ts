/** The demo as a process: Ctrl-C saves a run that can be finished, and wrong options are one sentence. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSafetensors } from "@te/checkpoint";
import { afterAll, expect, test } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "char-lm-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const main = join(import.meta.dirname, "../src/main.ts");

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the demo on the reference backend, where models are small everywhere. */
function demo(
  args: readonly string[],
  watch: (child: ChildProcessWithoutNullStreams, stdout: string) => void = () => {},
): Promise<Ended> {
  const child = spawn(process.execPath, [
    "--conditions=@te/source",
    "--import",
    "tsx",
    main,
    "--device",
    "reference",
    ...args,
  ]);
  let [stdout, stderr] = ["", ""];
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
    watch(child, stdout);
  });
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, stdout, stderr })));
}

test("Ctrl-C saves, and the command that it prints finishes the run as if nothing had been", {
  timeout: 180_000,
}, async () => {
  const [whole, stopped] = [join(folder, "whole"), join(folder, "stopped")];
  const run = ["--recipe", "delayed", "--steps", "8", "--batch", "1"];
  let sent = false;
  const [first, second] = await Promise.all([
    demo([...run, "--out", whole]),
    demo([...run, "--out", stopped], (child, stdout) => {
      if (!sent && stdout.includes("step 3/8")) sent = child.kill("SIGINT");
    }),
  ]);
  expect(first.code, first.stderr).toBe(0);
  expect(first.stdout).toMatch(/\nbfloat16 \+ FP8 +\d\.\d{4} /);
  expect(first.stdout).toContain("Call me Ishmael.");
  expect(readFileSync(join(whole, "loss.svg"), "utf8")).toContain("bfloat16 + FP8, held out ");

  expect(second.code, second.stderr).toBe(130);
  const command = /npm run demo -- (--resume \S+)\n/.exec(second.stdout)?.[1];
  expect(command).toBe(`--resume ${join(stopped, "state.safetensors")}`);
  const third = await demo(command!.split(" "));
  expect(third.code, third.stderr).toBe(0);
  expect(third.stdout).not.toContain("step 3/8");

  const name = "weights-bfloat16-fp8.safetensors";
  expect(readFileSync(join(stopped, name)).equals(readFileSync(join(whole, name)))).toBe(true);
  await using file = await openSafetensors(join(whole, name));
  expect(file.names).toContain("layers_0/mlp/wi_kernel");
});

test("a wrong option is one sentence on stderr", async () => {
  const { code, stdout, stderr } = await demo(["--steps", "many"]);
  expect({ code, stdout, stderr }).toEqual({
    code: 2,
    stdout: "",
    stderr: 'demo: --steps must be a whole number from 1 to 1000000, got "many".\n',
  });
});
