/** The same file on several processes: what it computes, and how it ends when one of them goes wrong. */
import { spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

const child = join(import.meta.dirname, "processes-child.ts");
const node = [process.execPath, "--conditions=@te/source", "--import", "tsx", child];

/** mpirun of Open MPI and of MPICH, as far as they are there, with what it takes to start more processes than cores. */
const STARTERS = [
  { name: "Open MPI", command: "mpirun.openmpi", args: ["--oversubscribe", "--allow-run-as-root"] },
  { name: "MPICH", command: "mpirun.mpich", args: [] },
].map((starter) => ({ ...starter, missing: missingFor(starter.command) }));

/** Why processes cannot be started by a command, or undefined. */
function missingFor(command: string): string | undefined {
  if (process.env.TE_KERNELS === "off") return "processes exchange in native kernels, and TE_KERNELS=off";
  return spawnSync(command, ["--version"]).status === 0 ? undefined : `there is no ${command}`;
}

interface Ended {
  readonly code: number | null;
  readonly output: string;
  readonly seconds: number;
}

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const start = performance.now();
  // On this machine alone: Open MPI then needs no ssh.
  const started = spawn(command, args, { env: { ...process.env, OMPI_MCA_plm: "isolated", ...env } });
  let output = "";
  for (const stream of [started.stdout, started.stderr])
    stream.on("data", (chunk) => {
      output += chunk;
    });
  return new Promise((resolve) =>
    started.on("close", (code) => resolve({ code, output, seconds: (performance.now() - start) / 1000 })),
  );
}

const lossesOf = (output: string): number[][] =>
  [...output.matchAll(/^\d of \d: (.*)$/gm)].map(([, losses]) => losses!.split(" ").map(Number));

describe.each(STARTERS)("$name", ({ command, args, missing }) => {
  if (missing) {
    test.skip(missing);
    return;
  }
  const mpirun = (count: number, rest: readonly string[], env?: NodeJS.ProcessEnv) =>
    run(command, [...args, "-n", String(count), ...node, ...rest], env);

  describe("runs", () => {
    test.each([
      ["dp2", 2],
      ["tp2", 2],
      ["tpsp2", 2],
      ["fsdp2", 2],
      ["dp2 x tp2", 4],
    ])("%s: every process has the losses of one", { timeout: 120_000 }, async (name, count) => {
      const [many, one] = await Promise.all([mpirun(count, [name]), run(node[0]!, [...node.slice(1), name])]);
      expect(many.code, many.output).toBe(0);
      const [whole] = lossesOf(one.output);
      const losses = lossesOf(many.output);
      expect(losses).toHaveLength(count);
      expect(whole).toHaveLength(4);
      for (const each of losses) each.forEach((loss, i) => expect(Math.abs(loss - whole![i]!)).toBeLessThan(2e-6));
    });
  });

  describe("ends every process", () => {
    const LIMIT = 30;
    test.each(["kill", "throw"])("when one falls: %s", { timeout: 120_000 }, async (fault) => {
      const { code, output, seconds } = await mpirun(2, ["dp2", fault]);
      expect(code, output).not.toBe(0);
      expect(lossesOf(output)).toEqual([]);
      expect(seconds).toBeLessThan(LIMIT);
      if (fault === "throw") expect(output).toContain("rank 1 has had enough");
    });

    test("when one stops, with who it was and what it should have done", { timeout: 120_000 }, async () => {
      const { code, output, seconds } = await mpirun(2, ["dp2", "stop"], { TE_COLLECTIVE_TIMEOUT: "3" });
      expect(code, output).not.toBe(0);
      expect(output).toMatch(
        /[a-z_]+ for [a-z_, ]+ of program [0-9a-f]{8} on rank 0: rank 1 sent nothing for 3 s: it waits, was stopped/,
      );
      expect(seconds).toBeLessThan(LIMIT);
    });

    test("when one runs another program, before anything is mixed", { timeout: 120_000 }, async () => {
      const { code, output, seconds } = await mpirun(2, ["dp2", "other"]);
      expect(code, output).not.toBe(0);
      expect(output).toMatch(/on rank [01]: rank [01] is at [a-z_]+ for .* all processes must run the same programs/);
      expect(seconds).toBeLessThan(LIMIT);
    });
  });
});

const isPossible = STARTERS.some(({ missing }) => !missing);

test.runIf(isPossible)("a mesh that has not a device for each process is refused", { timeout: 60_000 }, async () => {
  const starter = STARTERS.find(({ missing }) => !missing)!;
  const { code, output } = await run(starter.command, [...starter.args, "-n", "3", ...node, "dp2"]);
  expect(code).not.toBe(0);
  expect(output).toContain(
    "a mesh must have a device for each of the 3 processes that were started, got Mesh(data=2) with 2",
  );
});

test.runIf(isPossible)("a library that is not there is one sentence", async () => {
  const env = { OMPI_COMM_WORLD_SIZE: "2", PMI_SIZE: "2", TE_MPI: "libnothing.so" };
  const { code, output } = await run(node[0]!, [...node.slice(1), "dp2"], env);
  expect(code).not.toBe(0);
  expect(output).toMatch(
    /initDistributed: MPI was not found: libnothing\.so: .* Install Open MPI or MPICH .* or set TE_MPI/,
  );
});
