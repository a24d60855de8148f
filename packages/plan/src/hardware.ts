/** What devices and the links between them can do: numbers of data sheets, each profile with its source. */
import { expectObject, expectString, fail, nearestName } from "@te/tensor/op";

/** A kind of device, in machines of several that are joined by a network. */
export interface Hardware {
  readonly name: string;
  /** Where its numbers are from. */
  readonly source: string;
  /** Bytes of memory of a device, and bytes that it reads or writes in a second. */
  readonly memory: number;
  readonly bandwidth: number;
  /** Floating-point operations per second of dense products, by the bytes of an element of their operands. */
  readonly flops: Readonly<Record<1 | 2 | 4, number>>;
  /** Devices of a machine. */
  readonly perMachine: number;
  /** Bytes that a device sends in a second to others of its machine, and to other machines. */
  readonly links: Readonly<Record<Link, number>>;
  /** Seconds that a step of a collective takes at least. */
  readonly latency: Readonly<Record<Link, number>>;
  /** Whether it computes while it exchanges. Default true. */
  readonly overlaps?: boolean;
}

/** Which devices a collective joins: those of a machine, or of several. */
export type Link = "machine" | "network";

const GB = 1e9;
const T = 1e12;

/** Seconds of a step of a collective: estimates of the right order, of no data sheet. They matter for small messages alone. */
const LATENCY = { machine: 3e-6, network: 1e-5 } as const;

/** Profiles by name. Rates are peaks: what a run reaches of them is less. */
export const HARDWARE: Readonly<Record<string, Hardware>> = {
  "a100-sxm": {
    name: "a100-sxm",
    source: "NVIDIA A100 Tensor Core GPU data sheet (80 GB SXM); DGX A100: 8 devices, one 200 Gb/s HCA for each",
    memory: 80 * GB,
    bandwidth: 2039 * GB,
    flops: { 1: 312 * T, 2: 312 * T, 4: 156 * T },
    perMachine: 8,
    links: { machine: 300 * GB, network: 25 * GB },
    latency: LATENCY,
  },
  "h100-sxm": {
    name: "h100-sxm",
    source: "NVIDIA H100 Tensor Core GPU data sheet (SXM5, dense); DGX H100: 8 devices, one 400 Gb/s HCA for each",
    memory: 80 * GB,
    bandwidth: 3350 * GB,
    flops: { 1: 1979 * T, 2: 989 * T, 4: 495 * T },
    perMachine: 8,
    links: { machine: 450 * GB, network: 50 * GB },
    latency: LATENCY,
  },
  "h200-sxm": {
    name: "h200-sxm",
    source: "NVIDIA H200 Tensor Core GPU data sheet (SXM, dense); DGX H200: 8 devices, one 400 Gb/s HCA for each",
    memory: 141 * GB,
    bandwidth: 4800 * GB,
    flops: { 1: 1979 * T, 2: 989 * T, 4: 495 * T },
    perMachine: 8,
    links: { machine: 450 * GB, network: 50 * GB },
    latency: LATENCY,
  },
};

/** The profile of this name, or the one given. Throws TeError "option" for a name that is none, and what is no profile. */
export function hardwareOf(hardware: string | Hardware): Hardware {
  if (typeof hardware !== "string") return checkHardware(hardware);
  const names = Object.keys(HARDWARE);
  if (Object.hasOwn(HARDWARE, hardware)) return HARDWARE[hardware]!;
  const near = nearestName(hardware, names);
  return fail("option", "plan", "no such hardware", hardware, `${near ? `${near}? ` : ""}Known: ${names.join(", ")}.`);
}

/** Throws TeError "option" unless every number of a profile is there and can be divided by. */
export function checkHardware(hardware: unknown): Hardware {
  expectObject("plan", { hardware });
  const profile = hardware as Hardware;
  expectString("plan", { "hardware.name": profile.name, "hardware.source": profile.source });
  const { memory, bandwidth, perMachine, flops, links, latency, overlaps } = profile;
  expectObject("plan", { "hardware.flops": flops, "hardware.links": links, "hardware.latency": latency });
  const positive = { memory, bandwidth, perMachine, "flops.1": flops[1], "flops.2": flops[2], "flops.4": flops[4] };
  const numbers = { ...positive, "links.machine": links.machine, "links.network": links.network };
  for (const [name, value] of Object.entries(numbers))
    if (!(Number.isFinite(value) && value > 0))
      fail("option", "plan", `hardware.${name} must be a number above 0`, value ?? String(value));
  for (const [name, value] of Object.entries({ machine: latency.machine, network: latency.network }))
    if (!(Number.isFinite(value) && value >= 0))
      fail("option", "plan", `hardware.latency.${name} must be a number of at least 0`, value ?? String(value));
  if (overlaps !== undefined && typeof overlaps !== "boolean")
    fail("option", "plan", "hardware.overlaps must be true or false", overlaps);
  return profile;
}
