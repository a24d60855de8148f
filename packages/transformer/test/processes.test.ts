/** The same file on several processes: what it computes, and how it ends when one of them goes wrong. */
import { join } from "node:path";
import { runAlone, STARTERS } from "@te/testkit";
import { describe, expect, test } from "vitest";

const child = join(import.meta.dirname, "processes-child.ts");

const lossesOf = (output: string): number[][] =>
  [...output.matchAll(/^\d of \d: (.*)$/gm)].map(([, losses]) => losses!.split(" ").map(Number));

describe.each(STARTERS)("$name", ({ name: starter, missing, run }) => {
  if (missing) {
    test.skip(missing);
    return;
  }
  describe("runs", () => {
    test.each([
      ["dp2", 2],
      ["tp2", 2],
      ["tpsp2", 2],
      ["fsdp2", 2],
      ["dp2 x tp2", 4],
    ])("%s: every process has the losses of one", { timeout: 120_000 }, async (name, count) => {
      const [many, one] = await Promise.all([run(count, child, [name]), runAlone(child, [name])]);
      expect(many.code, many.output).toBe(0);
      const [whole] = lossesOf(one.output);
      const losses = lossesOf(many.output);
      expect(losses).toHaveLength(count);
      expect(whole).toHaveLength(4);
      for (const each of losses) each.forEach((loss, i) => expect(Math.abs(loss - whole![i]!)).toBeLessThan(2e-6));
    });
  });

  describe("ends every process", () => {
    /** Seconds from the fault on. */
    const LIMIT = 25;

    async function fall(fault: string): Promise<string> {
      const { code, output, secondsAfterFault } = await run(2, child, ["dp2", fault], { TE_COLLECTIVE_TIMEOUT: "3" });
      expect(code, output).not.toBe(0);
      expect(secondsAfterFault, output).toBeGreaterThan(0);
      expect(secondsAfterFault, output).toBeLessThan(LIMIT);
      return output;
    }

    test("when one is killed", { timeout: 120_000 }, async () => {
      const output = await fall("kill");
      expect(lossesOf(output)).toEqual([]);
      // MPICH's mpirun names its process alone.
      expect(output).toMatch(starter === "MPICH" ? /EXIT CODE: 9/ : /process rank 1 .* exited on signal 9/);
    });

    test("when one throws, with who it was and its error", { timeout: 120_000 }, async () => {
      const output = await fall("throw");
      expect(output).toMatch(/^Rank 1 of 2: Error: it has had enough$/m);
      expect(output).toContain("Rank 1 of 2 ends with status 1, and the others with it.");
    });

    test.each(["stop", "hang"])("when one does nothing: %s", { timeout: 120_000 }, async (fault) => {
      expect(await fall(fault)).toMatch(
        /^Rank 0 of 2: TeError: [a-z_]+ for [a-z_, ]+ of program [0-9a-f]{8} on rank 0: rank 1 sent nothing for 3 s/m,
      );
    });

    test("when one runs another program, before anything is mixed", { timeout: 120_000 }, async () => {
      expect(await fall("other")).toMatch(
        /on rank [01]: rank [01] is at [a-z_]+ for .* all processes must run the same programs/,
      );
    });

    test("when one ends before the others", { timeout: 120_000 }, async () => {
      expect(await fall("leave")).toMatch(
        /on rank 0: rank 1 is at the end: all processes|the end on rank 1: rank 0 is at [a-z_]+ for /,
      );
    });

    test("when one does not come to the end", { timeout: 120_000 }, async () => {
      expect(await fall("linger")).toContain("the end on rank 0: rank 1 sent nothing for 3 s");
    });
  });
});

const isPossible = STARTERS.some(({ missing }) => !missing);

test.runIf(isPossible)("a mesh that has not a device for each process is refused", { timeout: 60_000 }, async () => {
  const starter = STARTERS.find(({ missing }) => !missing)!;
  const { code, output } = await starter.run(3, child, ["dp2"]);
  expect(code).not.toBe(0);
  expect(output).toContain(
    "a mesh must have a device for each of the 3 processes that were started, got Mesh(data=2) with 2",
  );
});

test.runIf(isPossible)("a library that is not there is one sentence", async () => {
  const env = { OMPI_COMM_WORLD_SIZE: "2", PMI_SIZE: "2", TE_MPI: "libnothing.so" };
  const { code, output } = await runAlone(child, ["dp2"], env);
  expect(code).not.toBe(0);
  expect(output).toMatch(
    /initDistributed: MPI was not found: libnothing\.so: .* Install Open MPI or MPICH .* or set TE_MPI/,
  );
});

test.runIf(isPossible)("processes of srun that do not find each other are told how to", async () => {
  const { code, output } = await runAlone(child, ["dp2"], { SLURM_PROCID: "0", SLURM_STEP_NUM_TASKS: "2" });
  expect(code).not.toBe(0);
  expect(output).toContain(
    "initDistributed: 2 processes were started by srun, and MPI's library sees this one alone. Start them with srun --mpi=pmi2 for MPICH",
  );
});

test("a script of SLURM is one process, whose devices are virtual; TE_LOG=partition says so once", async () => {
  const env = { SLURM_PROCID: "0", SLURM_NTASKS: "2", TE_LOG: "partition" };
  const { code, output } = await runAlone(child, ["dp2"], env);
  expect(code, output).toBe(0);
  const said = "te: this process was started alone: the 2 devices of Mesh(data=2) are virtual, and take its memory.";
  expect(output.split(said)).toHaveLength(2);
});
