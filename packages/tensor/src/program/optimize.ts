import type { NodeSpec } from "../backend.js";
import { expand } from "./expand.js";
import type { Program } from "./program.js";
import { scheduleRecomputation } from "./schedule.js";
import { simplify } from "./simplify.js";

/**
 * The passes before the device's own, in order. References of ops that the device declines are simplified again: they
 * share work with each other and with what was there.
 */
export function optimize(program: Program, supports: (node: NodeSpec) => true | string): Program {
  const passes: ((program: Program) => Program)[] = [
    simplify,
    (simple) => expand(simple, supports),
    simplify,
    scheduleRecomputation,
  ];
  return passes.reduce((before, pass) => pass(before), program);
}
