/** Checks of what planning functions are given: models, trainings, meshes and plans. */
import { Mesh } from "@te/sharding";
import { expectArray, expectObject, expectSize, fail } from "@te/tensor/op";
import type { ModelSize, Training } from "./models.js";
import type { Plan } from "./plan.js";

export function expectMesh(fn: string, mesh: unknown): void {
  if (!(mesh instanceof Mesh)) fail("option", fn, "mesh must be a Mesh", mesh ?? String(mesh));
}

function expectPositive(fn: string, args: Readonly<Record<string, unknown>>): void {
  expectSize(fn, args);
  for (const [name, value] of Object.entries(args)) if (value === 0) fail("option", fn, `${name} must be above 0`, 0);
}

/** Throws unless every size of a model is there. */
export function expectModel(fn: string, size: ModelSize): void {
  expectObject(fn, { size });
  const { layers, hiddenSize, mlpHiddenSize, heads, groups, vocabulary, sequence, style } = size;
  expectPositive(fn, { layers, hiddenSize, mlpHiddenSize, heads, groups, vocabulary, sequence });
  if (style !== "llama" && style !== "gpt")
    fail("option", fn, 'size.style must be "llama" or "gpt"', style ?? String(style));
}

/** Throws unless a model can be trained so. */
export function expectTraining(fn: string, training: Training): void {
  expectObject(fn, { training });
  const { batch, checkpoint, sequenceParallel } = training;
  expectPositive(fn, { batch });
  for (const [name, value] of Object.entries({ checkpoint, sequenceParallel }))
    if (typeof value !== "boolean") fail("option", fn, `${name} must be true or false`, value ?? String(value));
}

/** Throws unless it is what `plan` gives. */
export function expectPlan(fn: string, plan: Plan): void {
  expectObject(fn, { plan });
  const { mesh, memory, hardware, time, criticalPath, timeline, traffic } = plan;
  expectMesh(fn, mesh);
  expectObject(fn, { "plan.memory": memory, "plan.hardware": hardware, "plan.time": time });
  expectObject(fn, { "plan.criticalPath": criticalPath });
  expectArray(fn, "points", { "plan.timeline": timeline });
  expectArray(fn, "collectives", { "plan.traffic": traffic });
}
