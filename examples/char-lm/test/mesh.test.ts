/** Training over meshes goes as on one device, and states go from one mesh to another. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tensor, tree } from "@te/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type MeshShape, onMesh } from "../src/mesh.js";
import { type RunOutcome, run } from "../src/run.js";
import { loadSession, saveSession } from "../src/session.js";
import { disposeAll, PRECISIONS, type Precision } from "../src/train.js";
import { corpus, settingsOf, tinyModel } from "./tiny.js";

const folder = mkdtempSync(join(tmpdir(), "char-lm-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const STEPS = 5;
const MESHES: readonly MeshShape[] = [{ data: 2 }, { fsdp: 2 }, { tensor: 2 }, { tpsp: 2 }, { data: 2, tensor: 2 }];

/** What rounding makes of sums in another order, by precision: see the losses of GPUs. */
const limitOf = ({ dtype, recipe }: Precision): number =>
  dtype === "float32" ? 2e-6 : recipe === "none" ? 5e-3 : 0.03;

describe.each(PRECISIONS)("$name", (precision) => {
  let one: RunOutcome;
  beforeAll(async () => {
    one = await run(corpus, settingsOf(precision, STEPS));
    disposeAll(one.state);
  });

  test.each(MESHES)("over %j the losses are those of one device", async (mesh) => {
    const { losses, heldOut, state } = await onMesh(mesh, () => run(corpus, settingsOf(precision, STEPS)));
    expect(losses).toHaveLength(STEPS);
    losses.forEach((loss, i) => expect(Math.abs(loss - one.losses[i]!)).toBeLessThan(limitOf(precision)));
    expect(Math.abs(heldOut! - one.heldOut!)).toBeLessThan(limitOf(precision));
    const parameters = tree.leavesWithPath(state.variables.params);
    const kernel = parameters.find(({ path }) => path.join("/") === "layers_0/mlp/wi_kernel")!.leaf;
    expect(String(kernel.sharding?.mesh)).toBe(
      `Mesh(${Object.entries(mesh)
        .map((pair) => pair.join("="))
        .join(", ")})`,
    );
    expect(kernel.sharding!.spec.axes).toEqual(Object.keys(mesh).filter((axis) => axis !== "data"));
    disposeAll(state);
  });
});

test("a run that was stopped on one mesh goes on over another, lying as that one has it", async () => {
  const precision = PRECISIONS[2]!;
  const settings = settingsOf(precision, STEPS);
  const whole = await run(corpus, settings);
  const path = join(folder, "state.safetensors.index.json");
  await onMesh({ fsdp: 2 }, async () => {
    let done = 0;
    const onStep = (step: number): void => {
      done = step;
    };
    const stopped = await run(corpus, settings, undefined, { onStep, interrupted: async () => done >= 2 });
    expect(stopped.heldOut).toBeUndefined();
    const { trainer: _, heldOut: __, ...current } = stopped;
    await saveSession(path, { ...settings, precisions: [precision], out: folder, results: [], current });
  });
  const resumed = await onMesh({ data: 2, tensor: 2 }, async () => {
    const { precisions, ...loaded } = await loadSession(path, tinyModel.vocabulary);
    return run(corpus, { ...loaded, precision: precisions[0]! }, loaded.current!);
  });
  expect(resumed.losses).toHaveLength(STEPS);
  resumed.losses.forEach((loss, i) => expect(Math.abs(loss - whole.losses[i]!)).toBeLessThan(limitOf(precision)));
  const tensors = tree.leaves(resumed.state).filter((leaf): leaf is Tensor => leaf instanceof Tensor);
  expect(new Set(tensors.map((x) => String(x.sharding?.mesh)))).toEqual(new Set(["Mesh(data=2, tensor=2)"]));
  expect(tensors.some((x) => x.sharding!.spec.axes.includes("tensor"))).toBe(true);
});
