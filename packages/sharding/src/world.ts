/** The processes that a program runs on together, one device of the mesh each. */
import { inspect } from "node:util";
import { currentBackend } from "@te/tensor";
import { asTeError, type Backend, type Transport, type World } from "@te/tensor/backend";
import { fail, withDefaults } from "@te/tensor/op";
import { Mesh, withMesh } from "./mesh.js";

const ALONE: World = { rank: 0, size: 1, sentBytes: () => ({}), leave: () => {} };
let world = ALONE;
let hasJoined = false;
const listeners: (() => void)[] = [];

/** Options of {@link initDistributed}. */
export interface DistributedOptions {
  /**
   * What processes exchange through: "mpi" between CPUs (Open MPI or MPICH), "nccl" between GPUs. Neither need be there where
   * nobody asks. Left out: that of the current device.
   */
  readonly backend?: Transport;
  /** The file of its library. "": that of TE_MPI or TE_NCCL, or the first that is found. */
  readonly library?: string;
}

/**
 * Joins the processes that this one was started with, as by `mpirun -n 4 node train.js`, and waits until all have. From then
 * on a mesh has one device in each of them, and every process runs the same program on its parts. Processes with a GPU each
 * can also be started one by one, with TE_COORDINATOR, TE_RANK and TE_WORLD. Where several were started, the first use of a
 * mesh calls it; a process that was started alone stays alone. A second call does nothing. Throws TeError "option" where the
 * device exchanges through something else, "backend" where its library is not there, where the others do not come, or where
 * the device has no collectives.
 */
export function initDistributed(options: DistributedOptions = {}): void {
  const { backend, library } = withDefaults("initDistributed", options, { backend: undefined, library: "" });
  if (backend !== undefined && backend !== "mpi" && backend !== "nccl")
    fail("option", "initDistributed", 'backend must be "mpi" or "nccl"', backend);
  if (typeof library !== "string") fail("option", "initDistributed", "library must be the name of a file", library);
  join(withMesh(null, currentBackend) as Backend, backend, library);
}

/**
 * How many processes were started with this one, as their starter tells in the environment. That of a job of SLURM holds for
 * its script too, which is one process; only srun counts those of a step.
 */
function startedWith(): { count: number; by: "mpirun" | "srun" } {
  const { OMPI_COMM_WORLD_SIZE, PMI_SIZE, SLURM_PROCID, SLURM_STEP_NUM_TASKS } = process.env;
  const ofStep = SLURM_PROCID && SLURM_STEP_NUM_TASKS;
  const count = Number(OMPI_COMM_WORLD_SIZE ?? PMI_SIZE ?? ofStep ?? 1) || 1;
  return { count, by: ofStep && OMPI_COMM_WORLD_SIZE === undefined ? "srun" : "mpirun" };
}

function failAlone(count: number, by: "mpirun" | "srun"): never {
  const rule = `${count} processes were started by ${by}, and MPI's library sees this one alone`;
  const ofSrun = "Start them with srun --mpi=pmi2 for MPICH, srun --mpi=pmix for Open MPI, or with mpirun";
  const ofMpirun = "It must be the library of this mpirun";
  const wayOut = `${by === "srun" ? ofSrun : ofMpirun}; TE_MPI or { library } names another.`;
  fail("backend", "initDistributed", rule, undefined, wayOut);
}

function join(device: Backend, over: Transport | undefined, library: string): void {
  if (hasJoined) return;
  if (!device.joinWorld) {
    const wayOut = 'Import "@te/kernels-cpu", and choose the device with setDevice("cpu").';
    fail(
      "backend",
      "initDistributed",
      `the device ${device.name} exchanges nothing with other processes`,
      undefined,
      wayOut,
    );
  }
  const joined = device.joinWorld(over, library);
  const { count, by } = startedWith();
  if (joined.size === 1 && count > 1) failAlone(count, by);
  world = joined;
  hasJoined = true;
  if (world.size > 1) endTogether(world);
  for (const listener of listeners) listener();
}

/** A process that ends with an error says which it is and takes the others with it; one that is done waits for them. */
function endTogether({ rank, size, leave }: World): void {
  const say = (text: string) => process.stderr.write(`Rank ${rank} of ${size}${text}\n`);
  const report = (error: unknown) => say(`: ${inspect(error)}`);
  const abort = (code: number) => {
    say(` ends with status ${code}, and the others with it.`);
    process.exitCode = code;
    leave(code); // before Node.js prints the error
  };
  process.on("uncaughtExceptionMonitor", report);
  process.once("exit", (code) => {
    if (code !== 0) return abort(code);
    try {
      leave(0);
    } catch (error) {
      report(asTeError(error));
      abort(1);
    }
  });
}

/** Joins where a starter made several processes: what programs of a mesh on this device begin with. */
export function joinIfStarted(device: Backend): void {
  if (!hasJoined && (process.env.TE_WORLD || startedWith().count > 1)) join(device, undefined, "");
}

/** Calls back when a world was joined. */
export const onJoin = (listener: () => void): void => void listeners.push(listener);

/** Which of the processes this one is, from 0 on. */
export const processIndex = (): number => world.rank;

/** How many processes run together; 1 until some have joined. */
export const processCount = (): number => world.size;

/** Bytes that this process has sent to others in programs that ran, by kind of collective, such as "all_reduce". */
export const sentSoFar = (): Readonly<Record<string, number>> => world.sentBytes();

/** The devices of a mesh that this process computes for: its own, or all of them where it is alone. */
export function devicesOf(mesh: Mesh): number[] {
  if (!(mesh instanceof Mesh))
    fail("option", "devicesOf", "mesh must be a Mesh", mesh ?? String(mesh), "Pass new Mesh({ data: 2 }).");
  if (world.size === 1) return Array.from({ length: mesh.size }, (_, device) => device);
  if (mesh.size !== world.size)
    fail(
      "option",
      "Mesh",
      `a mesh must have a device for each of the ${world.size} processes that were started`,
      `${mesh} with ${mesh.size}`,
      `Start as many: mpirun -n ${mesh.size}, or make the mesh of ${world.size}.`,
    );
  return [world.rank];
}
