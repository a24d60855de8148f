/** The demo as several processes: it starts itself again under mpirun, one process for each device of the mesh. */
import { spawn } from "node:child_process";
import { UsageError } from "./options.js";

/** Whether this process is one of those. */
const MARK = "TE_DEMO_PROCESS";

export const isStarted = (): boolean => process.env[MARK] !== undefined;

/** What stands for Ctrl-C between mpirun and its processes: it passes this one on, where SIGINT would make it end them. */
export const ASKS_TO_STOP = "SIGUSR2";

const SETTINGS = {
  [MARK]: "1",
  // Of Open MPI: no ssh, more processes than cores, and all of it for root too.
  OMPI_MCA_plm: "isolated",
  OMPI_MCA_rmaps_base_oversubscribe: "1",
  OMPI_ALLOW_RUN_AS_ROOT: "1",
  OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1",
};

/**
 * Starts so many processes of this program on this machine with the same arguments; gives the exit code of mpirun. The first
 * Ctrl-C asks them to save and stop, a second ends them.
 */
export function startProcesses(count: number, argv: readonly string[]): Promise<number> {
  const self = [process.execPath, ...process.execArgv, process.argv[1]!, ...argv];
  const env = { ...process.env, ...SETTINGS };
  // In a group of its own the terminal sends it nothing.
  const mpirun = spawn("mpirun", ["-n", String(count), ...self], {
    stdio: ["ignore", "inherit", "inherit"],
    env,
    detached: true,
  });
  let interrupted = false;
  process.once("SIGINT", () => {
    interrupted = true;
    mpirun.kill(ASKS_TO_STOP);
    process.on("SIGINT", () => mpirun.kill("SIGTERM"));
  });
  for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, () => mpirun.kill("SIGTERM"));
  return new Promise((resolve, reject) => {
    mpirun.on("error", () => {
      reject(
        new UsageError("--processes needs mpirun, which is not here. Install Open MPI: apt-get install openmpi-bin."),
      );
    });
    mpirun.on("exit", (code) => resolve(interrupted ? 130 : (code ?? 1)));
  });
}
