/** The command by which docs/meshes.md starts processes, as it is written, with the programs of the page. */
import { type ExecFileException, execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { STARTERS } from "@te/testkit";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { commandsOf, documents, programOf } from "./documents.js";

const page = documents.find(({ path }) => path === "docs/meshes.md")!;
const commands = commandsOf(page).flatMap(({ text }) => (text.startsWith("mpirun ") ? [text] : []));
const limits = { timeout: 300_000 };

// In the repository, so that names of packages are found.
mkdirSync(join(import.meta.dirname, "../out"), { recursive: true });
const folder = mkdtempSync(join(import.meta.dirname, "../out/meshes-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** What a shell says of a command in the folder, in which `mpirun` is that of `path`. */
function run(command: string, path = process.env.PATH): Promise<{ failed: ExecFileException | null; output: string }> {
  const env = {
    ...process.env,
    PATH: path,
    NODE_OPTIONS: "--conditions=@te/source --import tsx",
    // As root, and with more processes than there are cores.
    ...{ OMPI_ALLOW_RUN_AS_ROOT: "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1", OMPI_MCA_plm: "isolated" },
    ...{ OMPI_MCA_rmaps_base_oversubscribe: "1", PRTE_MCA_rmaps_default_mapping_policy: ":oversubscribe" },
    TE_COLLECTIVE_TIMEOUT: "100",
    FORCE_COLOR: "0", // Open MPI's processes write to a terminal
  };
  return new Promise((resolve) =>
    execFile("sh", ["-c", command], { cwd: folder, env }, (failed, stdout, stderr) =>
      resolve({ failed, output: stdout + stderr }),
    ),
  );
}

/** What all processes printed that is no whole number: their losses and shapes. What they print at once shares lines. */
const read = (output: string) => ({
  losses: (output.match(/\d\.\d{4,}/g) ?? []).map(Number),
  shapes: output.match(/\[ 2, 32, 64 \]/g) ?? [],
});

test("the page has such a command, for its train.js", () => {
  expect(commands).toEqual(["mpirun -n 4 node train.js"]);
});

describe.each(STARTERS)("$name", ({ command: mpirun, missing }) => {
  if (missing) {
    test.skip(missing);
    return;
  }
  const bin = join(folder, mpirun);
  beforeAll(() => {
    const { module, target } = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ESNext };
    const { outputText } = ts.transpileModule(programOf(page)!, { compilerOptions: { module, target } });
    writeFileSync(join(folder, "train.js"), outputText);
    mkdirSync(bin);
    // No link: MPICH's looks for its helpers where it was called.
    writeFileSync(join(bin, "mpirun"), `#!/bin/sh\nexec ${mpirun} "$@"\n`, { mode: 0o755 });
  });

  test.each(commands)("%s: every process prints what one does alone", limits, async (command) => {
    const many = await run(command, `${bin}:${process.env.PATH}`);
    expect(many.failed, many.output).toBeNull();
    const one = await run(command.replace(/^mpirun .*(?=node)/, ""));
    const alone = read(one.output);
    expect([alone.losses.length, alone.shapes.length], one.output).toEqual([1, 1]);
    const { losses, shapes } = read(many.output);
    expect([losses.length, shapes.length], many.output).toEqual([4, 4]);
    for (const loss of losses) expect(loss).toBeCloseTo(alone.losses[0]!, 4);
  });
});
