/** The same file on several processes with an emulated GPU each: what it computes, how they find each other, and how it ends. */
import "./emulated.js";
import { createServer } from "node:net";
import { join } from "node:path";
import { cudaAvailable } from "@te/kernels-cuda";
import { type Ended, freePort, runAlone, runTogether, STARTERS } from "@te/testkit";
import { describe, expect, test } from "vitest";

const train = join(import.meta.dirname, "processes-child.ts");
const meet = join(import.meta.dirname, "meet-child.ts");

const lossesOf = (output: string): number[][] =>
  [...output.matchAll(/^\d of \d: (.*)$/gm)].map(([, losses]) => losses!.split(" ").map(Number));

describe.runIf(cudaAvailable().available)("processes with a GPU each", () => {
  describe("train", () => {
    test.each([
      ["dp2", 2],
      ["tp2", 2],
      ["dp2 x tp2", 4],
    ])(
      "%s: every process has the losses of one device, and replays graphs",
      { timeout: 300_000 },
      async (name, count) => {
        const many = await runTogether(count, train, [name]);
        const one = await runAlone(train, [name]);
        expect(many.code, many.output).toBe(0);
        const [whole] = lossesOf(one.output);
        const losses = lossesOf(many.output);
        expect(losses).toHaveLength(count);
        expect(whole, one.output).toHaveLength(4);
        for (const each of losses) each.forEach((loss, i) => expect(Math.abs(loss - whole![i]!)).toBeLessThan(2e-6));
        expect(many.output.match(/^graphs replayed$/gm)).toHaveLength(count);
      },
    );
  });

  describe("find each other", () => {
    test.each(STARTERS)("by $name, without a coordinator", { timeout: 120_000 }, async ({ missing, run }) => {
      if (missing) return;
      const { code, output } = await run(2, meet);
      expect(code, output).toBe(0);
      expect(output.match(/^\d of 2: 1 2 3$/gm)?.sort()).toEqual(["0 of 2: 1 2 3", "1 of 2: 1 2 3"]);
    });

    const refused = async (...run: Parameters<typeof runTogether>): Promise<string> => {
      const { code, output } = await runTogether(...run);
      expect(code, output).not.toBe(0);
      return output;
    };
    const soon = { TE_COLLECTIVE_TIMEOUT: "4" };

    test("or say who is missing", { timeout: 120_000 }, async () => {
      expect(await refused(1, meet, [], { ...soon, TE_WORLD: "3" })).toMatch(
        /TeError: initDistributed: ranks 1, 2 did not come within 4 s\. Start as many processes as TE_WORLD says/,
      );
    });

    test("or that rank 0 is", { timeout: 120_000 }, async () => {
      const env = { ...soon, TE_COORDINATOR: `localhost:${await freePort()}`, TE_WORLD: "2", TE_RANK: "1" };
      expect((await runAlone(meet, [], env)).output).toMatch(
        /TeError: initDistributed: rank 0 was not found at localhost:\d+ for 4 s: it does not answer\. Start it/,
      );
    });

    test("or that two have one rank", { timeout: 120_000 }, async () => {
      const output = await refused(3, meet, [], {}, (rank) => ({ TE_RANK: String(Math.min(rank, 1)) }));
      expect(output).toMatch(
        /TeError: initDistributed: two processes are rank 1\. Give each a TE_RANK of its own, 0 to 2/,
      );
    });

    test("or that they were started for different worlds", { timeout: 120_000 }, async () => {
      const output = await refused(2, meet, [], {}, (rank) => ({ TE_WORLD: String(rank + 2) }));
      expect(output).toContain("initDistributed: rank 1 was started as one of 3, and rank 0 as one of 2.");
    });

    test("or that the port is taken", { timeout: 120_000 }, async () => {
      const server = createServer().listen(0);
      const { port } = server.address() as { port: number };
      const output = await refused(1, meet, [], { ...soon, TE_WORLD: "2", TE_COORDINATOR: `localhost:${port}` });
      server.close();
      expect(output).toMatch(
        /TeError: initDistributed: rank 0 cannot listen at port \d+ of this machine: Address already in use/,
      );
    });

    test.each([
      [{ TE_COORDINATOR: "localhost" }, 'TE_COORDINATOR must be host:port, got "localhost"'],
      [{ TE_COORDINATOR: "" }, "TE_COORDINATOR must be host:port, at which rank 0 is found by all"],
      [{ TE_WORLD: "two" }, "TE_WORLD must be the number of processes, got two"],
      [{ TE_RANK: "2" }, 'TE_RANK must be the number of this process, 0 to 1, got "2"'],
      [{ TE_NCCL: "libnothing.so" }, "initDistributed: NCCL was not found: libnothing.so: cannot open"],
    ])("or what is wrong with %o", { timeout: 120_000 }, async (env, sentence) => {
      const right = { TE_COORDINATOR: "localhost:1234", TE_WORLD: "2", TE_RANK: "0" };
      const { code, output } = await runAlone(meet, [], { ...right, ...env });
      expect(code, output).not.toBe(0);
      expect(output).toContain(sentence);
    });

    test("or that GPUs do not exchange through MPI", { timeout: 120_000 }, async () => {
      const { output } = await runAlone(meet, ["mpi"]);
      expect(output).toMatch(/TeError: initDistributed: GPUs exchange through "nccl", got mpi/);
    });
  });

  describe("end together", () => {
    async function fall(fault: string): Promise<Ended> {
      const ended = await runTogether(2, train, ["dp2", fault], { TE_COLLECTIVE_TIMEOUT: "8" });
      expect(ended.code, ended.output).not.toBe(0);
      return ended;
    }

    test("when one is killed, with its rank and the op", { timeout: 120_000 }, async () => {
      const { output } = await fall("kill");
      expect(lossesOf(output)).toEqual([]);
      expect(output).toMatch(
        /^Rank 0 of 2: TeError: [a-z_]+ for [a-z_, ]+ of program [0-9a-f]{8} on rank 0: rank 1 has ended\.$/m,
      );
    });

    test("when one throws", { timeout: 120_000 }, async () => {
      const { output } = await fall("throw");
      expect(output).toMatch(/^Rank 1 of 2: Error: it has had enough$/m);
      expect(output).toContain("on rank 0: rank 1 has ended.");
    });

    test("when one is stopped", { timeout: 120_000 }, async () => {
      const { output } = await fall("stop");
      expect(output).toMatch(
        /^Rank 0 of 2: TeError: [a-z_]+ for [a-z_, ]+ of program [0-9a-f]{8} on rank 0: rank 1 did not come for 8 s/m,
      );
    });

    // Nothing but the others ends such a process: no mpirun is there.
    const OP = "[a-z_]+ for [a-z_, ]+ of program [0-9a-f]{8} on rank";

    test.each([
      ["hang", 0, `${OP} 0: rank 1 did not come for 8 s: it does something else, or was stopped`],
      ["hang@0", 1, `${OP} 1: rank 0 did not come for 8 s: it does something else, or was stopped`],
      ["linger", 0, "the end on rank 0: rank 1 did not come for 8 s"],
    ] as const)("when the JavaScript of one does nothing more: %s", { timeout: 120_000 }, async (fault, rank, why) => {
      const { output, codes } = await fall(fault);
      expect(output).toMatch(new RegExp(`^Rank ${rank} of 2: TeError: ${why}`, "m"));
      const sentence = `^Rank ${1 - rank} of 2 did not end with rank ${rank}, and is ended now: ${why}`;
      expect(output).toMatch(new RegExp(sentence, "m"));
      expect(codes, output).toEqual([1, 1]);
    });

    test("when one is killed and another does nothing more", { timeout: 120_000 }, async () => {
      const { output, codes } = await fall("hang@0,kill@1");
      expect(output).toMatch(/^Rank 0 of 2 did not end with rank 1, and is ended now: .*rank 1 has ended\.$/m);
      expect(codes, output).toEqual([1, null]);
    });

    test.each([
      ["pause@1", 0, "rank 1 did not come for 8 s"],
      ["pause@0", 1, "rank 0 sent nothing for 8 s: it was stopped, or cannot be reached"],
    ] as const)("when one is stopped, as soon as it goes on: %s", { timeout: 120_000 }, async (fault, rank, why) => {
      const { output, codes } = await fall(fault);
      expect(output).toMatch(new RegExp(`^Rank ${rank} of 2: TeError: ${OP} ${rank}: ${why}`, "m"));
      expect(codes, output).toEqual([1, 1]);
    });

    test("when one runs another program", { timeout: 120_000 }, async () => {
      expect((await fall("other")).output).toMatch(
        /on rank [01]: rank [01] is at [a-z_]+ for .* all processes must run the same programs in the same order\./,
      );
    });
  });
});
