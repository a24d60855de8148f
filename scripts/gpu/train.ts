/**
 * The character model's train step on a device against the CPU: float32, bfloat16, and FP8 with delayed scaling.
 *   train.mjs --device cuda --out FILE [--small]
 * The device runs every step twice from the start, which has to give the same bits.
 */
import "@te/kernels-cpu";
import "@te/kernels-cuda";
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import {
  createTrainer,
  DEMO_MODEL,
  disposeAll,
  type ModelConfig,
  PRECISIONS,
  type Precision,
} from "@te/example-char-lm";
import { random, setDevice, type Tensor, tree } from "@te/tensor";

const text = { type: "string" } as const;
const { values } = parseArgs({ options: { device: text, out: text, small: { type: "boolean" } } });
const { device = "cuda", out = "train.json", small = false } = values;

const SMALL = { layers: 1, hiddenSize: 32, mlpHiddenSize: 64, heads: 2, sequence: 16 } as const;
const model: ModelConfig = { ...(small ? SMALL : DEMO_MODEL), vocabulary: 96 };
const BATCH = 4;
/** The first run of a program is not recorded, the second is, and the others are replayed. */
const STEPS = 6;

/** How far the losses of two devices may be apart: roundings of activations grow from step to step. */
const LIMITS: Readonly<Record<string, number>> = { float32: 1e-3, bfloat16: 2e-2, "bfloat16 + FP8": 4e-2 };

interface Run {
  readonly losses: readonly number[];
  readonly parameters: readonly Float32Array[];
}

async function run(on: string, precision: Precision): Promise<Run> {
  setDevice(on);
  const trainer = createTrainer(model, precision, { steps: 100, seed: 0 });
  const tokens = random.randint(random.key(1), [BATCH, model.sequence + 1], 0, model.vocabulary);
  let state = trainer.start();
  const losses: number[] = [];
  for (let i = 0; i < STEPS; i++) {
    const [next, loss] = trainer.step(state, tokens);
    state = next;
    losses.push(await loss.item());
    loss.dispose();
  }
  const leaves = tree.leaves(state.variables.params) as Tensor[];
  const parameters = await Promise.all(leaves.map(async (leaf) => (await leaf.data()) as Float32Array));
  disposeAll([state, tokens]);
  return { losses, parameters };
}

const sameBits = (a: Run, b: Run): boolean =>
  a.losses.every((loss, i) => Object.is(loss, b.losses[i])) &&
  a.parameters.every((one, i) => one.every((value, k) => Object.is(value, b.parameters[i]![k])));

const rows: object[] = [];
let isGood = true;
for (const precision of PRECISIONS) {
  const [cpu, first, second] = [
    await run("cpu", precision),
    await run(device, precision),
    await run(device, precision),
  ];
  const apart = Math.max(...cpu.losses.map((loss, i) => Math.abs(loss - first.losses[i]!)));
  const falls = first.losses.at(-1)! < first.losses[0]!;
  const repeats = sameBits(first, second);
  const good = apart <= LIMITS[precision.name]! && falls && repeats;
  isGood &&= good;
  rows.push({ precision: precision.name, good, apart, falls, repeats, cpu: cpu.losses, [device]: first.losses });
  writeFileSync(out, `${JSON.stringify({ model, batch: BATCH, rows }, null, 1)}\n`);
  console.log(
    `${precision.name}: ${good ? "good" : "BAD"}; losses ${apart.toExponential(2)} apart, ${repeats ? "same bits twice" : "other bits the second time"}`,
  );
}
process.exitCode = isGood ? 0 : 1;
