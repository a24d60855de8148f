/** Files that run on several processes, as mpirun starts them, and how they end. */
import { spawn, spawnSync } from "node:child_process";

/** mpirun of one kind of MPI, and why it cannot be used here, if so. */
export interface Starter {
  readonly name: string;
  readonly missing: string | undefined;
  /** Runs a TypeScript file with arguments on so many processes. */
  run(processes: number, file: string, args?: readonly string[], env?: NodeJS.ProcessEnv): Promise<Ended>;
}

/** How processes ended: the status of the one that started them, and what all of them wrote. */
export interface Ended {
  readonly code: number | null;
  readonly output: string;
  readonly seconds: number;
}

const starter = (name: string, command: string, options: readonly string[]): Starter => ({
  name,
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

function start(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ended> {
  const begin = performance.now();
  // On this machine alone: Open MPI then needs no ssh.
  const started = spawn(command, args, { env: { ...process.env, OMPI_MCA_plm: "isolated", ...env } });
  let output = "";
  for (const stream of [started.stdout, started.stderr])
    stream.on("data", (chunk) => {
      output += chunk;
    });
  return new Promise((resolve) =>
    started.on("close", (code) => resolve({ code, output, seconds: (performance.now() - begin) / 1000 })),
  );
}

/** Open MPI and MPICH, with what it takes to start more processes than there are cores. */
export const STARTERS: readonly Starter[] = [
  starter("Open MPI", "mpirun.openmpi", ["--oversubscribe", "--allow-run-as-root"]),
  starter("MPICH", "mpirun.mpich", []),
];
