/** Checkpoint files and buffers with bytes changed, lost or added: the tensors, or an error that names the file. */
import { readFile, writeFile } from "node:fs/promises";
import { decodeSafetensors, encodeSafetensors, loadState, openSafetensors, saveState } from "@te/checkpoint";
import { DTYPES } from "@te/tensor";
import type { Call } from "./call.js";
import type { Draw } from "./draw.js";
import { drawTensor } from "./nasty.js";

const FILE = "damaged.safetensors";
const STORED = DTYPES.filter((dtype) => dtype !== "float64");
const PARTS = ["-1", "1e99", "null", "{}", "[]", '"', "}", ",", '"dtype"', "F32", "9007199254740993", "\u0000", "[[[["];

function damage(draw: Draw, bytes: Uint8Array): Uint8Array {
  let out: Uint8Array = bytes.slice();
  for (let times = draw.integer(1, 3); times > 0; times--) out = damageOnce(draw, out);
  return out;
}

function damageOnce(draw: Draw, bytes: Uint8Array): Uint8Array {
  const at = draw.below(Math.max(bytes.length, 1));
  // Most of the header's mistakes are more telling than those of the numbers behind it.
  const early = Math.min(draw.below(200), at);
  const kind = draw.next();
  if (kind < 0.3) return bytes.map((byte, i) => (i === early ? draw.below(256) : byte));
  if (kind < 0.45) return bytes.slice(0, at);
  if (kind < 0.55)
    return joined(
      bytes,
      Uint8Array.from({ length: draw.integer(1, 40) }, () => draw.below(256)),
    );
  if (kind < 0.65) return bytes.map((byte, i) => (i < 8 ? draw.pick([0, 1, 127, 255, byte]) : byte));
  const part = new TextEncoder().encode(draw.pick(PARTS));
  return joined(
    bytes.slice(0, early),
    part,
    bytes.slice(kind < 0.85 ? early : Math.min(early + part.length, bytes.length)),
  );
}

const joined = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]));

export function fileCall(draw: Draw): Call {
  const how = draw.pick(["buffer", "file", "state"] as const);
  return {
    kind: "file",
    text: `a damaged ${how}`,
    run: async () => {
      const bytes = damage(draw, await makeFile(draw, how));
      if (how === "buffer") decodeSafetensors(bytes);
      else await writeFile(FILE, bytes);
      if (how === "state") await loadState(FILE);
      if (how === "file") await readFileOf();
      return undefined;
    },
  };
}

async function readFileOf(): Promise<void> {
  const file = await openSafetensors(FILE);
  try {
    for (const name of file.names) file.info(name);
    await file.readAll();
  } finally {
    await file.close();
  }
}

async function makeFile(draw: Draw, how: "buffer" | "file" | "state"): Promise<Uint8Array> {
  const tensors = Object.fromEntries(
    Array.from({ length: draw.integer(0, 3) }, (_, i) => [
      `t${i}`,
      drawTensor(
        draw,
        Array.from({ length: draw.below(3) }, () => draw.below(4)),
        draw.pick(STORED),
      ),
    ]),
  );
  if (how !== "state") return encodeSafetensors(tensors, draw.chance(0.5) ? { note: "x" } : {});
  await saveState(FILE, { ...tensors, step: 3, list: [null, "x", { deep: true }] });
  return readFile(FILE);
}
