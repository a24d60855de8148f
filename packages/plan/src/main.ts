/** The command `npm run plan`. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { initDistributed, processIndex } from "@te/sharding";
import { TeError } from "@te/tensor";
import { fail } from "@te/tensor/op";
import { checkHardware, type Hardware, hardwareOf } from "./hardware.js";
import { measureHardware } from "./measure.js";
import { parseMesh, resourceOf, search } from "./meshes.js";
import { modelOf, PRECISIONS, type Precision } from "./models.js";
import { memoryPicture } from "./picture.js";
import type { Plan } from "./plan.js";
import { planModel } from "./plan-model.js";
import { printPlan, printRanking } from "./print.js";

const USAGE = `npm run plan -- --model llama3-70b --mesh fsdp=8,tpsp=8 [options]
npm run plan -- --model llama3-70b --search --devices 64 [options]
npm run plan -- --measure [--devices 2] [--output out/machine.json]

  --model       llama3-8b, llama3-70b, llama3-405b or gpt3-175b
  --mesh        axes and their sizes, the last joining neighbours: data, fsdp, tensor, tpsp
  --search      rank all meshes of --devices
  --devices     how many devices the search is for
  --measure     measure this machine, with --devices processes at once, and write its profile
  --hardware    a100-sxm, h100-sxm (default), h200-sxm, or the file of a profile
  --batch       sequences of a step on all devices together; default: as many as devices
  --sequence    tokens of a sequence; default: that of the model's pre-training
  --precision   float32, bfloat16 (default) or fp8
  --keep        keep the activations of layers instead of computing them again
  --output      the file of the picture; default out/plan.svg; of --measure, that of the profile`;

function count(name: string, text: string): number {
  if (!/^[1-9]\d*$/.test(text)) fail("option", "plan", `--${name} must be a positive integer`, text);
  return Number(text);
}

/** A profile by its name, or from its file. */
function readHardware(text: string): Hardware {
  if (!text.endsWith(".json")) return hardwareOf(text);
  if (!existsSync(text))
    fail("file", "plan", "there is no such profile", text, "npm run plan -- --measure writes one.");
  try {
    return checkHardware(JSON.parse(readFileSync(text, "utf8")));
  } catch (error) {
    if (error instanceof TeError) throw error;
    return fail("file", "plan", "the profile is no JSON", text);
  }
}

/** Writes the profile of this machine, measured by as many processes at once. */
async function measure(devices: number, output: string): Promise<void> {
  if (devices > 1 && process.env[MARK] === undefined) {
    process.exitCode = startProcesses(devices);
    return;
  }
  const { copyBandwidth, productPeak } = await import("@te/kernels-cpu");
  if (devices > 1) initDistributed();
  const hardware = await measureHardware({ copyBandwidth, productPeak });
  if (processIndex() !== 0) return;
  write(output, `${JSON.stringify(hardware, null, 2)}\n`);
  process.stdout.write(`${hardware.name}: ${output}\n`);
}

/** Says that a process is one of those that another started. */
const MARK = "TE_PLAN_PROCESS";

/** This command again under mpirun; gives its exit status. */
function startProcesses(count: number): number {
  const self = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  // Of Open MPI: no ssh, more processes than cores, and all of it for root too.
  const settings = {
    [MARK]: "1",
    OMPI_MCA_plm: "isolated",
    OMPI_MCA_rmaps_base_oversubscribe: "1",
    OMPI_ALLOW_RUN_AS_ROOT: "1",
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1",
  };
  const { status, error } = spawnSync("mpirun", ["-n", String(count), ...self], {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...settings },
  });
  if (error) fail("backend", "plan", "--measure needs mpirun for several processes", undefined, "Install Open MPI.");
  return status ?? 1;
}

function write(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      model: { type: "string" },
      mesh: { type: "string" },
      search: { type: "boolean", default: false },
      devices: { type: "string" },
      hardware: { type: "string", default: "h100-sxm" },
      batch: { type: "string" },
      sequence: { type: "string" },
      precision: { type: "string", default: "bfloat16" },
      measure: { type: "boolean", default: false },
      keep: { type: "boolean", default: false },
      output: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.measure && !values.help)
    return measure(count("devices", values.devices ?? "1"), values.output ?? "out/machine.json");
  if (values.help || !values.model || (values.search ? !values.devices : !values.mesh)) {
    process.stdout.write(`${USAGE}\n`);
    process.exitCode = values.help ? 0 : 2;
    return;
  }
  const model = modelOf(values.model);
  const size = values.sequence ? { ...model, sequence: count("sequence", values.sequence) } : model;
  const { output = "out/plan.svg", precision } = values;
  if (!isPrecision(precision)) fail("option", "plan", `--precision must be one of ${PRECISIONS.join(", ")}`, precision);
  const hardware = readHardware(values.hardware);
  const mesh = values.search ? undefined : parseMesh(values.mesh!);
  const resource = mesh && resourceOf(mesh);
  const devices = mesh ? mesh.size : count("devices", values.devices!);
  const batch = values.batch ? count("batch", values.batch) : devices;
  const tokens = batch * size.sequence;
  const training = { batch, checkpoint: !values.keep, precision };
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
  write(output, memoryPicture(best, size.name));
  process.stdout.write(`picture: ${output}\n`);
}

const isPrecision = (text: string): text is Precision => (PRECISIONS as readonly string[]).includes(text);

try {
  await main();
} catch (error) {
  const isUsage = error instanceof TeError || (error instanceof TypeError && "code" in error);
  if (!isUsage) throw error;
  // Errors of the package name the function that refuses, which is plan.
  const message = (error as Error).message.replace(/^plan: /, "");
  process.stderr.write(`plan: ${message}\nnpm run plan -- --help lists the options.\n`);
  process.exitCode = 2;
}
