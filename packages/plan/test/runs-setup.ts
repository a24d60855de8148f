/** Steps that are planned and run: models, meshes and precisions, with arguments that lie as their programs want them. */
import { devicePut, globalShardGuard, type Mesh, NamedSharding, PartitionSpec, withMesh } from "@te/sharding";
import type { PartitionedProgram } from "@te/sharding/partition";
import { type Tensor, tree, zeros } from "@te/tensor";
import {
  type Kernels,
  type ModelSize,
  makePlanned,
  type Plan,
  type Precision,
  parseMesh,
  planPartitioned,
  resourceOf,
  type TrainingStep,
  trainingStep,
} from "../src/index.js";

export interface Configuration {
  readonly mesh: string;
  readonly precision: Precision;
  readonly style: ModelSize["style"];
  readonly checkpoint: boolean;
}

const configuration = (
  mesh: string,
  precision: Precision,
  style: ModelSize["style"] = "llama",
  checkpoint = false,
): Configuration => ({ mesh, precision, style, checkpoint });

export const CONFIGURATIONS: readonly Configuration[] = [
  configuration("data=2", "float32"),
  configuration("data=2", "fp8", "llama", true),
  configuration("fsdp=2", "bfloat16"),
  configuration("tensor=2", "float32", "gpt"),
  configuration("tpsp=2", "bfloat16"),
  configuration("data=2,tensor=2", "bfloat16", "gpt", true),
  configuration("fsdp=2,tensor=2", "float32"),
  configuration("fsdp=2,tpsp=2", "fp8"),
];

export interface Planned {
  readonly mesh: Mesh;
  readonly partitioned: PartitionedProgram;
  readonly plan: Plan;
  readonly training: TrainingStep;
}

const BATCH = 4;

/** The plan of a configuration for the kernels of a device. */
export function planOf(
  { mesh: axes, precision, style, checkpoint }: Configuration,
  kernels: Kernels,
  virtual: boolean,
) {
  const mesh = parseMesh(axes);
  const resource = resourceOf(mesh);
  const size: ModelSize = {
    ...{ name: "small", source: "none", layers: 1, hiddenSize: 64, mlpHiddenSize: 128, heads: 4 },
    ...{ groups: style === "gpt" ? 4 : 2, vocabulary: 96, sequence: 32, style },
  };
  const sequenceParallel = resource.tpspResource !== null;
  const training = trainingStep(size, { batch: BATCH, checkpoint, sequenceParallel, precision });
  const options = { mesh, resource, donateArgnums: [0], kernels, virtual };
  const partitioned = makePlanned(training.step, training.args, options);
  return { mesh, resource, training, partitioned, plan: planPartitioned(partitioned, training.args, options) };
}

/** Calls body under the mesh with zeros for the arguments. */
export function underMesh<R>(
  { mesh, resource, training, partitioned }: ReturnType<typeof planOf>,
  body: (args: TrainingStep["args"]) => R,
): R {
  const layouts = partitioned.inputs.map((id) => partitioned.values[id]!.layout.dims);
  let next = 0;
  const placed = (of: Tensor): Tensor => {
    const whole = zeros(of.shape, { dtype: of.dtype });
    const spec = new PartitionSpec(...layouts[next++]!.map((axes) => (axes.length > 0 ? [...axes] : null)));
    return devicePut(whole, new NamedSharding(mesh, spec));
  };
  return withMesh(mesh, () =>
    globalShardGuard(resource, () => body(tree.map(placed, training.args as never) as TrainingStep["args"])),
  );
}
