/**
 * Constants that a traced function made from numbers, such as tables: programs that hold equal ones share one copy, and
 * the last of them gives it back. Tensors from outside of the function are its user's and stay as they are.
 */
import { createHash } from "node:crypto";
import { byteSize } from "../aval.js";
import { Storage } from "../storage.js";
import { Tensor } from "../tensor.js";
import type { Program } from "./program.js";

const SHARED_BYTES = 1024;

interface Shared {
  readonly key: string;
  readonly tensor: Tensor;
  users: number;
}

const byContent = new Map<string, Shared>();
const byTensor = new WeakMap<Tensor, Shared>();

/** The program with its own big constants replaced by the shared ones. */
export function shareConstants(program: Program): Program {
  const constants = program.constants.map((constant) =>
    constant.own && byteSize(constant.tensor) >= SHARED_BYTES
      ? { ...constant, tensor: shared(constant.tensor) }
      : constant,
  );
  return program.with({ constants });
}

/** Ends the use of what {@link shareConstants} gave a program. */
export function releaseConstants(program: Program): void {
  for (const { tensor } of program.constants) {
    const found = byTensor.get(tensor);
    if (!found || --found.users > 0) continue;
    byContent.delete(found.key);
    byTensor.delete(tensor);
    tensor.dispose();
  }
}

function shared(tensor: Tensor): Tensor {
  const data = tensor.dataSync();
  const { shape, dtype } = tensor;
  const key = `${dtype}[${shape}] ${createHash("sha256")
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest("hex")}`;
  let found = byContent.get(key);
  if (!found) {
    found = { key, tensor: Tensor.concrete(Storage.ofHost({ shape, dtype }, data)), users: 0 };
    byContent.set(key, found);
    byTensor.set(found.tensor, found);
  }
  found.users++;
  return found.tensor;
}
