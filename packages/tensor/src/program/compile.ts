import { asTeError, type Backend, backendKey, currentBackend, type Executable } from "../backend.js";
import { TeError } from "../errors.js";
import { Lru } from "../lru.js";
import { referenceBackend } from "../reference/backend.js";
import { wantsLog, warnOnce } from "../settings.js";
import { Storage } from "../storage.js";
import { Tensor } from "../tensor.js";
import { releaseConstants, shareConstants } from "./constants.js";
import { optimize } from "./optimize.js";
import { Program } from "./program.js";

/** A program ready to run on one device. */
export interface Compiled {
  readonly program: Program;
  readonly backend: Backend;
  readonly executable: Executable;
}

const log = (line: string): void => {
  if (wantsLog("compile")) process.stderr.write(`te: ${line}\n`);
};

/** Expands what the device has no kernel for, simplifies, schedules, and hands the rest to the device. */
export function compile(program: Program, backend: Backend = currentBackend()): Compiled {
  const start = performance.now();
  const declined = new Map<string, string>();
  const supports: Backend["supports"] = (node) => {
    const answer = backend.supports(node);
    if (answer !== true) declined.set(node.op, answer);
    return answer;
  };
  try {
    const ready = shareConstants(optimize(program, supports));
    const executable = compileOn(backend, ready);
    log(`compiled ${ready.nodes.length} nodes for ${backend.name} in ${(performance.now() - start).toFixed(1)} ms`);
    for (const [op, why] of declined) log(`${op} runs as its reference: ${why}`);
    return { program: ready, backend, executable };
  } catch (error) {
    if (backend === referenceBackend || !TeError.is(error) || error.code !== "unsupported") throw asTeError(error);
    warnOnce(`${error.message} The whole program runs on the slow reference.`);
    return compile(program, referenceBackend);
  }
}

function compileOn(backend: Backend, program: Program): Executable {
  try {
    return backend.compile(program);
  } catch (error) {
    releaseConstants(program);
    throw error;
  }
}

/** Gives back what a program holds. */
export function dispose({ program, executable }: Compiled): void {
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
  const open = new Program(program.values, program.given, [], program.nodes, program.outputs);
  const key = `${backendKey()}\n${open.toString()}`;
  let compiled = cache.get(key);
  if (!compiled) {
    compiled = compile(open, backend);
    cache.set(key, compiled);
  }
  return execute(compiled, [...inputs, ...program.constants.map((c) => c.tensor)]);
}
