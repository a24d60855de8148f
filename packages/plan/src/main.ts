/** The command `npm run plan`. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { TeError } from "@te/tensor";
import { fail } from "@te/tensor/op";
import { hardwareOf } from "./hardware.js";
import { parseMesh, resourceOf, search } from "./meshes.js";
import { modelOf } from "./models.js";
import { memoryPicture } from "./picture.js";
import type { Plan } from "./plan.js";
import { planModel } from "./plan-model.js";
import { printPlan, printRanking } from "./print.js";

const USAGE = `npm run plan -- --model llama3-70b --mesh fsdp=8,tpsp=8 [options]
npm run plan -- --model llama3-70b --search --devices 64 [options]

  --model       llama3-8b, llama3-70b, llama3-405b or gpt3-175b
  --mesh        axes and their sizes, the last joining neighbours: data, fsdp, tensor, tpsp
  --search      rank all meshes of --devices
  --devices     how many devices the search is for
  --hardware    a100-sxm, h100-sxm (default) or h200-sxm
  --batch       sequences of a step on all devices together; default: as many as devices
  --sequence    tokens of a sequence; default: that of the model's pre-training
  --keep        keep the activations of layers instead of computing them again
  --output      the file of the picture; default out/plan.svg`;

function count(name: string, text: string): number {
  if (!/^[1-9]\d*$/.test(text)) fail("option", "plan", `--${name} must be a positive integer`, text);
  return Number(text);
}

function main(): void {
  const { values } = parseArgs({
    options: {
      model: { type: "string" },
      mesh: { type: "string" },
      search: { type: "boolean", default: false },
      devices: { type: "string" },
      hardware: { type: "string", default: "h100-sxm" },
      batch: { type: "string" },
      sequence: { type: "string" },
      keep: { type: "boolean", default: false },
      output: { type: "string", default: "out/plan.svg" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help || !values.model || (values.search ? !values.devices : !values.mesh)) {
    process.stdout.write(`${USAGE}\n`);
    process.exitCode = values.help ? 0 : 2;
    return;
  }
  const model = modelOf(values.model);
  const size = values.sequence ? { ...model, sequence: count("sequence", values.sequence) } : model;
  const { hardware, output } = values;
  hardwareOf(hardware);
  const mesh = values.search ? undefined : parseMesh(values.mesh!);
  const resource = mesh && resourceOf(mesh);
  const devices = mesh ? mesh.size : count("devices", values.devices!);
  const batch = values.batch ? count("batch", values.batch) : devices;
  const tokens = batch * size.sequence;
  const training = { batch, checkpoint: !values.keep };
  process.stdout.write(`${size.name}, ${batch} sequences of ${size.sequence} tokens\n`);
  let best: Plan;
  if (mesh && resource) {
    const sequenceParallel = resource.tpspResource !== null;
    best = planModel(size, { ...training, mesh, resource, hardware, sequenceParallel });
  } else {
    const ranked = search(size, { ...training, devices, hardware });
    process.stdout.write(`${printRanking(ranked, tokens)}\n\n`);
    best = ranked[0]!.plan;
  }
  process.stdout.write(`${printPlan(best, tokens)}\n`);
  mkdirSync(dirname(output), { recursive: true });
  writeFileSync(output, memoryPicture(best, size.name));
  process.stdout.write(`picture: ${output}\n`);
}

try {
  main();
} catch (error) {
  const isUsage = error instanceof TeError || (error instanceof TypeError && "code" in error);
  if (!isUsage) throw error;
  // Errors of the package name the function that refuses, which is plan.
  const message = (error as Error).message.replace(/^plan: /, "");
  process.stderr.write(`plan: ${message}\nnpm run plan -- --help lists the options.\n`);
  process.exitCode = 2;
}
