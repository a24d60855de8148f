/** Meshes by the names that the command line has for kinds of parallelism, and all that fit a number of devices. */
import { Mesh, MeshResource, type MeshResourceOptions } from "@te/sharding";
import { expectObject, expectSize, expectString, fail } from "@te/tensor/op";
import { expectMesh, expectModel } from "./check.js";
import { checkHardware, type Hardware, hardwareOf } from "./hardware.js";
import type { ModelSize } from "./models.js";
import type { Plan } from "./plan.js";
import { planModel } from "./plan-model.js";

/** Axes of the command line, and what each is for. */
const AXES: Readonly<Record<string, keyof MeshResourceOptions>> = {
  data: "dpResource",
  fsdp: "fsdpResource",
  tensor: "tpResource",
  tpsp: "tpspResource",
};

/** The resource that uses the axes of a mesh as their names say. */
export function resourceOf(mesh: Mesh): MeshResource {
  expectMesh("resourceOf", mesh);
  const known = Object.keys(AXES).join(", ");
  for (const axis of mesh.axisNames)
    if (!Object.hasOwn(AXES, axis)) fail("option", "plan", "no such axis", axis, `Axes: ${known}.`);
  return new MeshResource(Object.fromEntries(mesh.axisNames.map((axis) => [AXES[axis]!, axis])));
}

/** "data=8,tensor=8" as a mesh: the last axis joins neighbours. */
export function parseMesh(text: string): Mesh {
  expectString("parseMesh", { text });
  const sizes = text.split(",").map((part): [string, number] => {
    const [name, size] = part.split("=");
    if (!name || !/^\d+$/.test(size ?? "")) fail("option", "plan", "a mesh is written as data=8,tensor=8", text);
    return [name, Number(size)];
  });
  return new Mesh(Object.fromEntries(sizes));
}

/** Meshes of so many devices: all ways to give a power of two of each machine to tensors, and the rest to the batch. */
export function meshesOf(size: ModelSize, devices: number, batch: number, hardware: Hardware): Mesh[] {
  const fn = "meshesOf";
  expectModel(fn, size);
  expectSize(fn, { devices, batch });
  const { perMachine } = checkHardware(hardware);
  const found: Mesh[] = [];
  for (let tensor = 1; tensor <= Math.min(devices, perMachine, size.groups); tensor *= 2) {
    const rest = devices / tensor;
    if (!Number.isInteger(rest) || batch % rest !== 0 || size.groups % tensor !== 0) continue;
    const batchAxes: Record<string, number>[] = rest === 1 ? [{}] : [{ data: rest }, { fsdp: rest }];
    for (const axes of batchAxes) {
      if (tensor === 1) found.push(new Mesh(rest === 1 ? { data: 1 } : axes));
      else for (const name of ["tensor", "tpsp"]) found.push(new Mesh({ ...axes, [name]: tensor }));
    }
  }
  return found;
}

/** A mesh with the plan of a model on it. */
export interface Ranked {
  readonly mesh: Mesh;
  readonly plan: Plan;
}

/** What a search looks for. */
export interface SearchOptions {
  readonly devices: number;
  readonly hardware: string | Hardware;
  /** Sequences of a step on all devices together. */
  readonly batch: number;
  readonly checkpoint: boolean;
}

/** The plans of a model on all meshes of so many devices, the fastest first; those that do not fit come last. */
export function search(size: ModelSize, searched: SearchOptions): Ranked[] {
  expectObject("search", { options: searched });
  const { devices, ...options } = searched;
  const meshes = meshesOf(size, devices, options.batch, hardwareOf(options.hardware));
  if (meshes.length === 0) {
    const wayOut = "Choose a batch that is a multiple of the devices over 8.";
    fail(
      "option",
      "search",
      "no mesh divides the batch and the heads",
      `${devices} devices, batch ${options.batch}`,
      wayOut,
    );
  }
  return meshes
    .map((mesh): Ranked => {
      const resource = resourceOf(mesh);
      const sequenceParallel = resource.tpspResource !== null;
      return { mesh, plan: planModel(size, { ...options, mesh, resource, sequenceParallel }) };
    })
    .sort((a, b) => Number(b.plan.fits) - Number(a.plan.fits) || a.plan.time.step - b.plan.time.step);
}
