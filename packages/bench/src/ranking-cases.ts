/** The steps and the meshes whose order is compared. */
import type { ModelSize } from "@te/plan";

export interface Workload {
  readonly size: ModelSize;
  readonly batch: number;
}

const SIZE = { name: "bench", source: "none", layers: 2, heads: 8, groups: 8, vocabulary: 512, style: "gpt" } as const;

/** One bound by its parameters and their state, one by its activations. */
export const WORKLOADS: Readonly<Record<string, Workload>> = {
  "many parameters": { size: { ...SIZE, hiddenSize: 512, mlpHiddenSize: 2048, sequence: 32 }, batch: 4 },
  "many tokens": { size: { ...SIZE, hiddenSize: 128, mlpHiddenSize: 512, sequence: 256 }, batch: 16 },
};

/** By number of devices. */
export const MESHES: Readonly<Record<number, readonly string[]>> = {
  2: ["data=2", "fsdp=2", "tensor=2", "tpsp=2"],
  4: ["data=4", "fsdp=4", "tensor=4", "data=2,tensor=2", "fsdp=2,tpsp=2"],
};
