/** npm start -w @te/example-mnist -- [--device auto|cpu|reference|cuda] [--dtype bfloat16] [--recipe none|delayed|current] [--epochs 5] */
import "@te/kernels-cpu";
import { parseArgs } from "node:util";
import { currentBackend, setDevice, TeError } from "@te/tensor";
import { readDigits } from "./data.js";
import { RECIPES, Trainer } from "./train.js";

const options = {
  device: { type: "string", default: "auto" },
  dtype: { type: "string", default: "bfloat16" },
  recipe: { type: "string", default: "none" },
  epochs: { type: "string", default: "5" },
} as const;

function readOptions() {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    process.stderr.write(`${(error as Error).message}. The options are --device, --dtype, --recipe and --epochs.\n`);
    return process.exit(2);
  }
}

const values = readOptions();

function oneOf<T extends string>(name: string, value: string, allowed: readonly T[]): T {
  if (allowed.includes(value as T)) return value as T;
  process.stderr.write(`--${name} must be one of ${allowed.join(", ")}, got "${value}".\n`);
  process.exit(2);
}

const dtype = oneOf("dtype", values.dtype, ["float32", "bfloat16", "float16"] as const);
const recipe = oneOf("recipe", values.recipe, Object.keys(RECIPES) as (keyof typeof RECIPES)[]);
const epochs = Number(oneOf("epochs", values.epochs, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"] as const));

try {
  const device = oneOf("device", values.device, ["auto", "cpu", "reference", "cuda"] as const);
  if (device === "cuda") await import("@te/kernels-cuda");
  setDevice(device);
} catch (error) {
  if (!TeError.is(error)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}

const [train, test] = [readDigits("train"), readDigits("t10k")];
console.log(`MNIST: ${train.count} digits to train on, ${test.count} to test on. Device: ${currentBackend().name}.`);
const trainer = new Trainer({ dtype, recipe });
for (let epoch = 1; epoch <= epochs; epoch++) {
  const began = performance.now();
  const loss = await trainer.epoch(train, (step, steps, value) => {
    const left = (((performance.now() - began) / step) * (steps - step)) / 1000;
    const line = `epoch ${epoch}   step ${step}/${steps}   loss ${value.toFixed(4)}   ${Math.ceil(left)} s left`;
    if (process.stderr.isTTY) process.stderr.write(`\r${line}\x1b[K`);
  });
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  const score = await trainer.evaluate(test);
  console.log(
    `epoch ${epoch}: training loss ${loss.toFixed(4)}, test loss ${score.loss.toFixed(4)}, test accuracy ${score.accuracy.toFixed(4)}`,
  );
}
