/** Whether the planner orders meshes as runs do: steps on two and four processes of this machine, planned and measured. */
import { join } from "node:path";
import type { Hardware } from "@te/plan";
import { fail } from "@te/tensor/op";
import { STARTERS } from "@te/testkit";
import { type Machine, machine } from "./machine.js";
import { round } from "./timing.js";

export interface RankingRow {
  readonly processes: number;
  readonly workload: string;
  readonly mesh: string;
  readonly plannedMs: number;
  /** Of these, of collectives. */
  readonly exchangeMs: number;
  readonly measuredMs: number;
  readonly leastMs: number;
}

export interface RankingReport {
  readonly machine: Machine;
  /** The profiles that were planned with, measured before each run. */
  readonly hardware: readonly Hardware[];
  /** Pairs of meshes of a workload whose measured times differ by more than 15 percent, and how many the plan orders likewise. */
  readonly pairs: number;
  readonly agreeing: number;
  /** The pairs that it does not. */
  readonly disagreeing: readonly string[];
  readonly rows: readonly RankingRow[];
}

const child = join(import.meta.dirname, "ranking-child.ts");
const APART = 1.15;

export async function benchRanking({ rounds = 7, log = (_: string) => {} } = {}): Promise<RankingReport> {
  const starter = STARTERS.find(({ missing }) => !missing);
  if (!starter) fail("backend", "bench", "ranking needs processes", STARTERS[0]!.missing, "Install Open MPI.");
  const rows: RankingRow[] = [];
  const hardware: Hardware[] = [];
  for (const processes of [2, 4]) {
    log(`ranking: ${processes} processes`);
    const { code, output } = await starter.run(processes, child, [String(rounds)], { TE_COLLECTIVE_TIMEOUT: "300" });
    if (code !== 0) fail("backend", "bench", `the processes ended with status ${code}`, output.slice(-2000));
    for (const [, text] of output.matchAll(/^ranking (.*)$/gm)) {
      const line = JSON.parse(text!);
      if (line.hardware) hardware.push(line.hardware);
      else
        rows.push({
          processes,
          workload: line.workload,
          mesh: line.mesh,
          plannedMs: round(line.planned.step * 1e3),
          exchangeMs: round(line.planned.communication * 1e3),
          measuredMs: round(line.measured * 1e3),
          leastMs: round(line.least * 1e3),
        });
    }
  }
  return { machine: machine(), hardware, ...judge(rows), rows };
}

function judge(rows: readonly RankingRow[]): Pick<RankingReport, "pairs" | "agreeing" | "disagreeing"> {
  const apart = rows.flatMap((slow) =>
    rows
      .filter((fast) => fast.processes === slow.processes && fast.workload === slow.workload)
      .filter((fast) => slow.measuredMs > APART * fast.measuredMs)
      .map((fast) => ({ slow, fast })),
  );
  const wrong = apart.filter(({ slow, fast }) => slow.plannedMs <= fast.plannedMs);
  return {
    pairs: apart.length,
    agreeing: apart.length - wrong.length,
    disagreeing: wrong.map(
      ({ slow, fast }) => `${slow.processes} processes, ${slow.workload}: ${fast.mesh} is faster than ${slow.mesh}`,
    ),
  };
}
