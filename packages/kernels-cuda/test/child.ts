/** Runs a script that imports this package in a process of its own: what ends a GPU must not end the other tests. */
import { spawnSync } from "node:child_process";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

/** What a module printed on stdout, and on stderr, line by line. Throws where the process did not end well. */
export function runChildFully(
  body: string,
  env: Readonly<Record<string, string>>,
): { readonly lines: string[]; readonly errors: string[] } {
  const script = `import "@te/kernels-cpu"; import "@te/kernels-cuda"; import * as te from "@te/tensor";\n${body}`;
  const child = spawnSync(
    process.execPath,
    ["--conditions=@te/source", "--import", "tsx", "--expose-gc", "--input-type=module", "-e", script],
    {
      cwd: dirname(fileURLToPath(import.meta.url)),
      env: { ...process.env, TE_CUDA_EMULATED: process.env.TE_CUDA_EMULATED || "1", ...env },
      encoding: "utf8",
      timeout: 60_000,
    },
  );
  if (child.status !== 0) throw new Error(`the process ended with ${child.status ?? child.signal}: ${child.stderr}`);
  const linesOf = (text: string): string[] => text.split("\n").filter((line) => line !== "");
  return { lines: linesOf(child.stdout), errors: linesOf(child.stderr) };
}

/** The lines that a module printed. Throws where the process did not end well. */
export const runChild = (body: string, env: Readonly<Record<string, string>>): string[] =>
  runChildFully(body, env).lines;
