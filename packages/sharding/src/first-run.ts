/** What processes compare when a program runs for the first time: all of them must run the same. */
import { type Backend, compile, dispose, Program } from "@te/tensor/backend";
import { agreeOp } from "./ops/collectives.js";
import type { PartitionedProgram } from "./partition/partitioned.js";
import { processCount, processIndex } from "./world.js";

/** A partitioned program as text, and a number of 32 bits that equal texts share. */
export interface Described {
  readonly text: string;
  readonly hash: number;
}

export const describe = (partitioned: PartitionedProgram): Described => {
  const text = String(partitioned);
  return { text, hash: hashOf(text) };
};

/** FNV-1a. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** Programs that were compared. None is forgotten: a process that compiles one again must not wait for others that do not. */
const compared = new Set<number>();

/**
 * Dispatches the comparison of a program that is run next with those that the other processes run next. Where they differ
 * every exchange that follows fails, in all processes, with an error that says who runs what. A program that exchanges
 * nothing is not compared: one process may print what another does not.
 */
export function compareAtFirstRun(device: Backend, name: string, { text, hash }: Described): void {
  if (processCount() === 1 || compared.has(hash)) return;
  compared.add(hash);
  const bytes = new TextEncoder().encode(text);
  const aval = { shape: [bytes.length], dtype: "uint8" } as const;
  const ranks = Array.from({ length: processCount() }, (_, rank) => rank);
  const params = { ranks, place: processIndex(), program: 0, purpose: name };
  const node = { op: agreeOp.definition, inputs: [0], outputs: [1], params };
  const compiled = compile(new Program([aval, aval], [0], [], [node], [1]), device);
  const x = device.fromHost(bytes, "take");
  for (const buffer of [x, ...compiled.executable.run([x])]) buffer.release();
  dispose(compiled);
}
