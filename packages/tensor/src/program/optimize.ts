import type { NodeSpec } from "../backend.js";
import { expand } from "./expand.js";
import type { Program } from "./program.js";
import { scheduleRecomputation } from "./schedule.js";
import { simplify } from "./simplify.js";

/**
 * The passes before the device's own, in order. References of ops that the device declines are simplified too: they share
 * work with each other and with what was there.
 */
export function optimize(program: Program, supports: (node: NodeSpec) => true | string): Program {
  const simple = simplify(program);
  const expanded = expand(simple, supports);
  return scheduleRecomputation(expanded === simple ? simple : simplify(expanded));
}
