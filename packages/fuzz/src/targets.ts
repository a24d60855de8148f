/** Everything that users can call: functions, classes with their functions, and the methods of tensors. */
import * as checkpoint from "@te/checkpoint";
import * as fp8 from "@te/fp8";
import * as cpu from "@te/kernels-cpu";
import * as cuda from "@te/kernels-cuda";
import * as layers from "@te/layers";
import * as optim from "@te/optim";
import * as plan from "@te/plan";
import * as sharding from "@te/sharding";
import * as partitioner from "@te/sharding/partition";
import * as te from "@te/tensor";
import * as devices from "@te/tensor/backend";
import * as authors from "@te/tensor/op";
import * as transformer from "@te/transformer";

export interface Target {
  /** "softmax", "random.split", "Tensor.add". */
  readonly name: string;
  readonly kind: "function" | "class" | "method";
  readonly f: (...args: any[]) => any;
}

const PACKAGES = {
  te: { ...devices, ...authors, ...te },
  fp8,
  layers,
  transformer,
  optim,
  sharding: { ...sharding, ...partitioner },
  plan,
  checkpoint,
  cpu,
  cuda,
};

const LEFT_OUT = new Set([
  // They change the whole process.
  ...["registerBackend", "spreadPrograms", "addPass", "defineOp", "binary", "warnOnce", "setThreads", "createScope"],
  // They measure the machine for seconds.
  ...["collectiveTime", "copyBandwidth", "dispatchCost", "measureHardware", "productPeak", "readBandwidth"],
  // Their methods and subclasses are targets of their own.
  ...["Tensor", "Module"],
  // They make the errors, take anything as a key, or are the devices that everything runs on.
  ...["fail", "TeError", "Lru", "fallbackBackend", "currentBackend"],
]);

/** Members that are not for users: private ones, and those that only the packages call. */
export const INTERNAL = new Set(["constructor", "decode", "onlyElement", "expectStorage", "describe", "operands"]);

const isClass = (f: object): boolean => /^class\b/.test(Function.prototype.toString.call(f));
const isOp = (f: object): boolean => "definition" in f;

/** The targets, by name; ops are called on their own, see op-calls. */
export function findTargets(): Target[] {
  const found: Target[] = [];
  for (const [library, exported] of Object.entries(PACKAGES))
    for (const [name, value] of Object.entries(exported)) collect(found, prefixed(library, name), value);
  for (const name of Object.getOwnPropertyNames(te.Tensor.prototype)) {
    const value = Object.getOwnPropertyDescriptor(te.Tensor.prototype, name)?.value;
    if (typeof value === "function" && !INTERNAL.has(name))
      found.push({ name: `Tensor.${name}`, kind: "method", f: value });
  }
  return found;
}

/** Names that another package has too are told apart. */
const prefixed = (library: string, name: string): string =>
  library === "layers" && ["zeros", "ones"].includes(name) ? `layers.${name}` : name;

function collect(found: Target[], name: string, value: unknown): void {
  if (LEFT_OUT.has(name)) return;
  if (typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Map)) {
    for (const [member, f] of Object.entries(value))
      if (typeof f === "function") collect(found, `${name}.${member}`, f);
  }
  if (typeof value !== "function" || isOp(value) || value.prototype instanceof layers.Module) return;
  found.push({ name, kind: isClass(value) ? "class" : "function", f: value as Target["f"] });
  for (const member of Object.getOwnPropertyNames(value)) {
    const f = Object.getOwnPropertyDescriptor(value, member)?.value;
    if (isClass(value) && typeof f === "function")
      found.push({ name: `${name}.${member}`, kind: "function", f: f.bind(value) });
  }
}
