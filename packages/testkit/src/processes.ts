/** Files that run on several processes, as mpirun starts them, and how they end. */
import { spawn, spawnSync } from "node:child_process";
import { writeSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";

/** mpirun of one kind of MPI, and why it cannot be used here, if so. */
export interface Starter {
  readonly name: string;
  readonly command: string;
  readonly missing: string | undefined;
  /** Runs a TypeScript file with arguments on so many processes. */
  run(processes: number, file: string, args?: readonly string[], env?: NodeJS.ProcessEnv): Promise<Ended>;
}

/** How processes ended: the status of the one that started them, and what all of them wrote. */
export interface Ended {
  readonly code: number | null;
  /** Of each that was started: null for one that a signal ended. */
  readonly codes: readonly (number | null)[];
  readonly output: string;
  readonly seconds: number;
  /** From when the last of them said that its fault comes now; 0 where none did. */
  readonly secondsAfterFault: number;
}

/** Says so, for Ended, in a process that is about to go wrong. */
export function announceFault(): void {
  writeSync(2, `${ANNOUNCED}${Date.now()}\n`);
}

const ANNOUNCED = "A fault at ";

function secondsAfterFault(output: string): number {
  const at = Math.max(...[...output.matchAll(new RegExp(`${ANNOUNCED}(\\d+)`, "g"))].map(([, time]) => Number(time)));
  return Number.isFinite(at) ? (Date.now() - at) / 1000 : 0;
}

const starter = (name: string, command: string, options: readonly string[]): Starter => ({
  name,
  command,
  missing: missingFor(command),
  run: (processes, file, args = [], env = {}) =>
    start(command, [...options, "-n", String(processes), process.execPath, ...nodeArguments(file, args)], env),
});

function missingFor(command: string): string | undefined {
  if (process.env.TE_KERNELS === "off") return "processes exchange in native kernels, and TE_KERNELS=off";
  return spawnSync(command, ["--version"]).status === 0 ? undefined : `there is no ${command}`;
}

const nodeArguments = (file: string, args: readonly string[]): string[] => [
  "--conditions=@te/source",
  "--import",
  "tsx",
  file,
  ...args,
];

/** Runs a TypeScript file as a process of its own, without mpirun. */
export const runAlone = (file: string, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<Ended> =>
  start(process.execPath, nodeArguments(file, args), env);

function start(command: string, args: readonly string[], env: NodeJS.ProcessEnv, killed?: AbortSignal): Promise<Ended> {
  const begin = performance.now();
  // On this machine alone: Open MPI then needs no ssh. Other work may hold a process up for long.
  const usual = { OMPI_MCA_plm: "isolated", TE_COLLECTIVE_TIMEOUT: "100" };
  const started = spawn(command, args, { env: { ...process.env, ...usual, ...env } });
  killed?.addEventListener("abort", () => started.kill("SIGKILL"));
  let output = "";
  for (const stream of [started.stdout, started.stderr])
    stream.on("data", (chunk) => {
      output += chunk;
    });
  return new Promise((resolve) =>
    started.on("close", (code) => {
      const seconds = (performance.now() - begin) / 1000;
      resolve({ code, codes: [code], output, seconds, secondsAfterFault: secondsAfterFault(output) });
    }),
  );
}

/**
 * Runs a TypeScript file with arguments on so many processes without mpirun: each finds the others by its environment, to
 * which `each` adds. The status is the first that is not 0. Who has not ended ten seconds after it is ended.
 */
export async function runTogether(
  processes: number,
  file: string,
  args: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
  each: (rank: number) => NodeJS.ProcessEnv = () => ({}),
): Promise<Ended> {
  const seats = { TE_COORDINATOR: `localhost:${await freePort()}`, TE_WORLD: String(processes), ...env };
  const failed = new AbortController();
  const all = await Promise.all(
    Array.from({ length: processes }, async (_, rank) => {
      const seat = { ...seats, TE_RANK: String(rank), ...each(rank) };
      const ended = await start(process.execPath, nodeArguments(file, args), seat, failed.signal);
      if (ended.code !== 0 && !failed.signal.aborted) setTimeout(() => failed.abort(), 10_000).unref();
      return ended;
    }),
  );
  return {
    code: all.find(({ code }) => code !== 0)?.code ?? all[0]!.code,
    codes: all.map(({ code }) => code),
    output: all.map(({ output }) => output).join(""),
    seconds: Math.max(...all.map(({ seconds }) => seconds)),
    secondsAfterFault: secondsAfterFault(all.map(({ output }) => output).join("")),
  };
}

/** A port of this machine that nobody listens at. */
export function freePort(): Promise<number> {
  const server = createServer();
  return new Promise((resolve) =>
    server.listen(0, () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    }),
  );
}

/** Open MPI and MPICH, with what it takes to start more processes than there are cores. */
export const STARTERS: readonly Starter[] = [
  starter("Open MPI", "mpirun.openmpi", ["--oversubscribe", "--allow-run-as-root"]),
  starter("MPICH", "mpirun.mpich", []),
];
