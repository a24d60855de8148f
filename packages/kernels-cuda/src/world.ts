/** The processes that a program runs on together with a GPU each: which of them this one is, and how it joins them. */
import type { Transport, World } from "@te/tensor/backend";
import { fail } from "@te/tensor/op";
import type { NativeCuda, Seat } from "./native.js";

type Env = NodeJS.ProcessEnv;

/** The number of this process among those of its machine, as what started it says; "" where nothing does. */
export const localRank = (env: Env): string =>
  env.TE_LOCAL_RANK ||
  env.OMPI_COMM_WORLD_LOCAL_RANK ||
  env.MPI_LOCALRANKID ||
  (env.SLURM_STEP_NUM_TASKS ? env.SLURM_LOCALID : undefined) ||
  env.TE_RANK ||
  "";

/**
 * The seat that TE_COORDINATOR, TE_RANK and TE_WORLD name; the latter two may be left out where mpirun or srun started the
 * process. Without a coordinator MPI is asked, where mpirun or srun started the process; else it is alone.
 */
export function seatOf(env: Env): Seat {
  const { TE_COORDINATOR: coordinator = "", TE_RANK, TE_WORLD } = env;
  const rank = TE_RANK || env.OMPI_COMM_WORLD_RANK || env.PMI_RANK || env.SLURM_PROCID;
  const size = TE_WORLD || env.OMPI_COMM_WORLD_SIZE || env.PMI_SIZE || env.SLURM_STEP_NUM_TASKS;
  if (coordinator === "") {
    if (TE_RANK || TE_WORLD) wrong("TE_COORDINATOR", "must be host:port, at which rank 0 is found by all", coordinator);
    return { rank: size === undefined ? 0 : -1, size: 1, coordinator };
  }
  if (!isNumber(size) || Number(size) < 1) wrong("TE_WORLD", "must be the number of processes", size);
  if (!isNumber(rank) || Number(rank) >= Number(size))
    wrong("TE_RANK", `must be the number of this process, 0 to ${Number(size) - 1}`, rank);
  return { rank: Number(rank), size: Number(size), coordinator };
}

const isNumber = (text: string | undefined): text is string => text !== undefined && /^\d{1,6}$/.test(text);

const wrong = (name: string, rule: string, value: string | undefined): never =>
  fail("option", "initDistributed", `${name} ${rule}`, value ?? "");

/** Joins the world on a GPU. */
export function joinWorld(
  native: NativeCuda,
  ordinal: number,
  over: Transport | undefined,
  library: string,
  env: Env = process.env,
): World {
  if (over === "mpi")
    fail("option", "initDistributed", 'GPUs exchange through "nccl"', over, 'Leave backend out, or setDevice("cpu").');
  const { rank, size } = native.joinWorld({ ...seatOf(env), ordinal, library });
  return { rank, size, sentBytes: () => native.sentBytes(), leave: (code) => native.leaveWorld(ordinal, code) };
}
