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

/** What programs use that nobody disposed. The held values keep no program, whose other memory is given back earlier. */
const collected = new FinalizationRegistry<readonly Shared[]>((used) => used.forEach(endUse));

/** The program with its own big constants replaced by the shared ones. */
export function shareConstants(program: Program): Program {
  const constants = program.constants.map((constant) =>
    constant.own && byteSize(constant.tensor) >= SHARED_BYTES
      ? { ...constant, tensor: shared(constant.tensor) }
      : constant,
  );
  const sharing = program.with({ constants });
  const used = sharedBy(sharing);
  if (used.length > 0) collected.register(sharing, used, sharing);
  return sharing;
}

/** Ends the use of what {@link shareConstants} gave a program; so does its collection. */
export function releaseConstants(program: Program): void {
  collected.unregister(program);
  sharedBy(program).forEach(endUse);
}

const sharedBy = (program: Program): Shared[] => program.constants.flatMap(({ tensor }) => byTensor.get(tensor) ?? []);

function endUse(used: Shared): void {
  if (--used.users > 0) return;
  byContent.delete(used.key);
  byTensor.delete(used.tensor);
  used.tensor.dispose();
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
