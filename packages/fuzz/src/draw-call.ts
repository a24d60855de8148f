/** Which call an index stands for. */
import type { Call } from "./call.js";
import { fileCall } from "./damaged-files.js";
import type { Draw } from "./draw.js";
import { moduleCall } from "./module-calls.js";
import { opCall } from "./op-calls.js";
import { programCall } from "./programs.js";
import { wrongCall } from "./wrong-calls.js";

const KINDS: readonly (readonly [share: number, make: (draw: Draw) => Call])[] = [
  [0.5, wrongCall],
  [0.2, opCall],
  [0.1, moduleCall],
  [0.1, programCall],
  [0.1, fileCall],
];

export function drawCall(draw: Draw): Call {
  let rest = draw.next();
  for (const [share, make] of KINDS) {
    if (rest < share) return make(draw);
    rest -= share;
  }
  return fileCall(draw);
}
