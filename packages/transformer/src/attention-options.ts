/** Strings that choose how attention masks, biases and normalises, in the spellings that are accepted. */
import { fail } from "@te/tensor/op";
import { failChoice, lowerCase } from "./choices.js";

export interface MaskType {
  readonly padding: boolean;
  readonly causal: boolean;
  readonly bottomRight: boolean;
}

/**
 * "no_mask", or any order of "padding", "causal" and "bottom_right" (which implies causal), joined by "_". In a mask
 * array 1 or true means hidden.
 */
export function parseMaskType(fn: string, text: string, option = "attnMaskType"): MaskType {
  const lower = lowerCase(text);
  if (lower === "no_mask") return { padding: false, causal: false, bottomRight: false };
  const bottomRight = lower.includes("bottom_right");
  const words = lower.replace("bottom_right", "").split("_").filter(Boolean);
  const padding = words.includes("padding");
  const causal = words.includes("causal");
  const known = words.every((w) => w === "padding" || w === "causal") && new Set(words).size === words.length;
  if (!known || words.length === 0 || (bottomRight && !causal))
    failChoice(fn, option, `one of ${MASK_TYPES.join(", ")}`, text);
  return { padding, causal, bottomRight };
}

export const MASK_TYPES = [
  "no_mask",
  "padding",
  "causal",
  "padding_causal",
  "causal_bottom_right",
  "padding_causal_bottom_right",
] as const;

export type BiasType = "no_bias" | "pre_scale_bias" | "post_scale_bias";

/** The bias type that is named; null is none. */
export function parseBiasType(fn: string, text: string | null, option = "attnBiasType"): BiasType | null {
  if (text === null) return null;
  const lower = lowerCase(text);
  if (lower === "no_bias" || lower === "pre_scale_bias" || lower === "post_scale_bias") return lower;
  return failChoice(fn, option, "no_bias, pre_scale_bias or post_scale_bias", text);
}

/** The bias type in force: the one named, or what the presence of a bias implies. A mismatch is an error. */
export function resolveBiasType(fn: string, named: BiasType | null, hasBias: boolean): BiasType {
  if (named === null) return hasBias ? "post_scale_bias" : "no_bias";
  if ((named === "no_bias") === hasBias) {
    const rule = `attnBiasType "${named}" ${hasBias ? "takes no bias" : "needs a bias"}`;
    const wayOut = hasBias ? "Use pre_scale_bias or post_scale_bias, or pass none." : "Pass one, or use no_bias.";
    fail("option", fn, rule, hasBias ? "a bias" : "none", wayOut);
  }
  return named;
}

export type SoftmaxType = "vanilla" | "off_by_one" | "learnable";

export function parseSoftmaxType(fn: string, text: string): SoftmaxType {
  const normal = lowerCase(text).replaceAll("-", "_");
  if (normal === "vanilla" || normal === "off_by_one" || normal === "learnable") return normal;
  return failChoice(fn, "softmaxType", "vanilla, off_by_one or learnable", text);
}

/** Where q, k and v lie: batch and sequence axes apart, or sequences packed into rows ("thd"); together or separate. */
export const QKV_LAYOUTS = {
  bs3hd: { packing: "qkv", sequences: false },
  bshd_bs2hd: { packing: "kv", sequences: false },
  bshd_bshd_bshd: { packing: "none", sequences: false },
  t3hd: { packing: "qkv", sequences: true },
  thd_t2hd: { packing: "kv", sequences: true },
  thd_thd_thd: { packing: "none", sequences: true },
} as const;

export type QkvLayout = keyof typeof QKV_LAYOUTS;

export function parseQkvLayout(fn: string, text: string): QkvLayout {
  const lower = lowerCase(text);
  if (Object.hasOwn(QKV_LAYOUTS, lower)) return lower as QkvLayout;
  return failChoice(fn, "qkvLayout", `one of ${Object.keys(QKV_LAYOUTS).join(", ")}`, text);
}

export type RopeMethod = "consecutive" | "alternate";

export function parseRopeMethod(fn: string, text: string): RopeMethod {
  const normal = lowerCase(text).trim().replaceAll(/[-_]/g, "");
  if (normal === "consecutive" || normal === "alternate") return normal;
  return failChoice(fn, "rotaryPosEmbGroupMethod", "consecutive or alternate", text);
}

/** Throws unless the time scales of rotary embedding are two positive numbers. */
export function checkRopeWindows(fn: string, windows: readonly [number, number]): void {
  const positive = (x: unknown): boolean => typeof x === "number" && x > 0 && Number.isFinite(x);
  if (!Array.isArray(windows) || windows.length !== 2 || !windows.every(positive))
    fail("option", fn, "rotaryPosEmbWindows must be two positive numbers, [smallest, largest]", windows);
}

/** [left, right], inclusive; a negative side is unbounded. */
export function parseWindow(
  fn: string,
  window: readonly [number, number] | null,
): { windowLeft: number; windowRight: number } {
  const sides: readonly number[] = window ?? [-1, -1];
  if (!Array.isArray(sides) || sides.length !== 2 || !sides.every(Number.isInteger))
    fail("option", fn, "windowSize must be two integers", window);
  const [left, right] = sides as [number, number];
  return { windowLeft: Math.max(left, -1), windowRight: Math.max(right, -1) };
}

/** The number of query heads and of key heads, which divides it; the latter defaults to the former. */
export function parseHeads(
  fn: string,
  heads: number | undefined,
  groups: number | null,
): [heads: number, groups: number] {
  if (heads === undefined) fail("option", fn, "numAttentionHeads is required");
  if (!Number.isInteger(heads) || heads < 1)
    fail("option", fn, "numAttentionHeads must be an integer of at least 1", heads);
  if (groups === null) return [heads, heads];
  if (!Number.isInteger(groups) || groups < 1 || heads % groups !== 0)
    fail("option", fn, "numAttentionHeads must be a multiple of numGqaGroups", `${heads} and ${groups}`);
  return [heads, groups];
}

/** Throws unless the depth of a head is a positive integer. */
export function checkHeadDim(fn: string, headDim: number): void {
  if (!Number.isInteger(headDim) || headDim < 1)
    fail("option", fn, "headDim must be an integer of at least 1", headDim);
}

/** Throws unless the rate leaves something to scale up. */
export function checkAttentionDropout(fn: string, rate: number): void {
  if (typeof rate !== "number" || !(rate >= 0 && rate < 1))
    fail("option", fn, "attentionDropout must be in [0, 1)", rate, "Dropping every weight leaves nothing to scale up.");
}
