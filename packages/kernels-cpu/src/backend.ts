/** The CPU as a device of @te/tensor. */
import { availableParallelism, cpus } from "node:os";
import {
  type Backend,
  joinAdamwUpdates,
  joinSquareSums,
  nativeBackend,
  type Transport,
  type World,
} from "@te/tensor/backend";
import { fail, warnOnce } from "@te/tensor/op";
import type { Native } from "./native.js";

/** What happens to programs before their elementwise ops are fused. */
const PASSES_BEFORE = [joinAdamwUpdates({ many: false }), joinSquareSums({ many: false })];

/** Says what was wrong with the settings, and describes what runs. */
export function cpuBackend(native: Native): Backend {
  const { isa, threads, problems } = native.info();
  for (const problem of problems) warnOnce(problem);
  const description = `${isa} kernels, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  return nativeBackend({
    name: "cpu",
    description,
    native,
    passesBefore: PASSES_BEFORE,
    joinWorld: (...how) => joinWorld(native, ...how),
  });
}

/** Processes of one machine share its cores, unless TE_NUM_THREADS says how many each may take. */
function joinWorld(native: Native, over: Transport | undefined, library: string): World {
  if (over === "nccl")
    fail(
      "option",
      "initDistributed",
      'CPUs exchange through "mpi"',
      over,
      'Leave backend out, or choose setDevice("cuda").',
    );
  const { rank, size } = native.joinWorld(library);
  const { TE_NUM_THREADS, OMPI_COMM_WORLD_LOCAL_SIZE, MPI_LOCALNRANKS } = process.env;
  const neighbours = Number(OMPI_COMM_WORLD_LOCAL_SIZE ?? MPI_LOCALNRANKS ?? 1) || 1;
  const share = Math.max(1, Math.floor(cpus().length / neighbours));
  if (size > 1 && !TE_NUM_THREADS) native.setThreads(Math.min(share, availableParallelism()));
  return { rank, size, sentBytes: () => native.sentBytes(), leave: (code) => native.leaveWorld(code) };
}
