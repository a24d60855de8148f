/** From a program to something that runs: passes, the device's compilation, and caches of what was compiled. */
import { asTeError } from "../as-error.js";
import type { Backend, Executable } from "../backend.js";
import { backendKey, currentBackend } from "../devices.js";
import { expectFunction, expectObject } from "../expect.js";
import { Lru } from "../lru.js";
import { logLine, wantsLog, warnOnce } from "../settings.js";
import { Storage } from "../storage.js";
import { Tensor } from "../tensor.js";
import { releaseConstants, shareConstants } from "./constants.js";
import { pipelineVersion, runPasses } from "./passes.js";
import { expectProgram, Program, type ProgramNode } from "./program.js";
import { cutSegments, SegmentedExecutable } from "./segments.js";

/** A program ready to run on one device. */
export interface Compiled {
  readonly program: Program;
  readonly backend: Backend;
  readonly executable: Executable;
}

const log = (line: string): void => {
  if (wantsLog("compile")) logLine(line);
};

/** Stands for all that compilation depends on beside the program: the device and the passes. */
export const compileKey = (): string => `${backendKey()}/${pipelineVersion()}`;

/** Runs the passes, and hands the rest to the device. Ops that it has neither a kernel nor a reference for run on the host. */
export function compile(program: Program, backend: Backend = currentBackend()): Compiled {
  expectProgram("compile", program);
  expectObject("compile", { backend });
  expectFunction("compile", { "backend.supports": backend.supports });
  const start = performance.now();
  const declined = new Map<string, string>();
  const supports: Backend["supports"] = (node) => {
    const answer = backend.supports(node);
    if (answer !== true) declined.set(node.op, answer);
    return answer;
  };
  try {
    const passed = runPasses(program, supports);
    const lacking = passed.nodes.filter((node) => !node.op.view && backend.supports(passed.spec(node)) !== true);
    const ready = shareConstants(lacking.length > 0 ? withoutDonation(passed) : passed);
    const executable = compileOn(backend, ready, new Set(lacking));
    log(`compiled ${ready.nodes.length} nodes for ${backend.name} in ${(performance.now() - start).toFixed(1)} ms`);
    const onHost = new Set(lacking.map(({ op }) => op.name));
    for (const [op, why] of declined) {
      if (onHost.has(op)) warnOnce(`${op} has no kernel on ${backend.name}: ${why}. It runs on the host, slowly.`);
      else log(`${op} runs as its reference: ${why}`);
    }
    return { program: ready, backend, executable };
  } catch (error) {
    throw asTeError(error);
  }
}

/** Stretches of one program take over no memory: others may still read it. */
const withoutDonation = ({ values, inputs, constants, nodes, outputs, name }: Program): Program =>
  new Program(values, inputs, constants, nodes, outputs, [], name);

function compileOn(backend: Backend, program: Program, onHost: ReadonlySet<ProgramNode>): Executable {
  const supports: Backend["supports"] = (node) => backend.supports(node);
  const build = (part: Program): Executable => backend.compile(runPasses(part, supports, backend.passes ?? []));
  try {
    if (onHost.size === 0) return build(program);
    return new SegmentedExecutable(
      program,
      cutSegments(program, (node) => onHost.has(node)),
      backend,
      build,
    );
  } catch (error) {
    releaseConstants(program);
    throw error;
  }
}

/** Gives back what a program holds. */
export function dispose(compiled: Compiled): void {
  expectObject("dispose", { compiled });
  const { program, executable } = compiled;
  expectProgram("dispose", program);
  expectObject("dispose", { executable });
  executable.dispose();
  releaseConstants(program);
}

/** Runs with concrete inputs; `donated` positions of `inputs` give their memory away. */
export function execute({ program, backend, executable }: Compiled, inputs: readonly Tensor[]): Tensor[] {
  const given = [...inputs, ...program.constants.map((c) => c.tensor)];
  const buffers = given.map((t) => t.expectStorage("jit").on(backend));
  let results: ReturnType<Executable["run"]>;
  try {
    results = executable.run(buffers);
  } catch (error) {
    throw asTeError(error);
  }
  for (const index of program.donated) inputs[index]!.expectStorage("jit").donated();
  return results.map((buffer, i) =>
    Tensor.concrete(Storage.ofBuffer(program.values[program.outputs[i]!]!, buffer, backend)),
  );
}

/** By their texts, which are long where programs are. */
const cache = new Lru<Compiled>(512, dispose, 2 ** 26);

/**
 * Runs a program, compiling it or finding the executable of an equal one. Captured tensors become inputs, so that
 * programs that differ in them alone share an executable.
 */
export function runCached(program: Program, inputs: readonly Tensor[]): Tensor[] {
  const backend = currentBackend();
  const open = new Program(program.values, program.given, [], program.nodes, program.outputs, [], program.name);
  const key = `${compileKey()}\n${open.toString()}`;
  let compiled = cache.get(key);
  if (!compiled) {
    compiled = compile(open, backend);
    cache.set(key, compiled);
  }
  return execute(compiled, [...inputs, ...program.constants.map((c) => c.tensor)]);
}
