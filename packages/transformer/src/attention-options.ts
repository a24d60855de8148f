/** Strings that choose how attention masks, biases and normalises, in the spellings that are accepted. */
import { TeError } from "@te/tensor";

export interface MaskType {
  readonly padding: boolean;
  readonly causal: boolean;
  readonly bottomRight: boolean;
}

/**
 * "no_mask", or any order of "padding", "causal" and "bottom_right" (which implies causal), joined by "_". In a mask
 * array 1 means masked out.
 */
export function parseMaskType(fn: string, text: string): MaskType {
  const lower = text.toLowerCase();
  if (lower === "no_mask") return { padding: false, causal: false, bottomRight: false };
  const bottomRight = lower.includes("bottom_right");
  const words = lower.replace("bottom_right", "").split("_").filter(Boolean);
  const padding = words.includes("padding");
  const causal = words.includes("causal");
  const known = words.every((w) => w === "padding" || w === "causal") && new Set(words).size === words.length;
  if (!known || words.length === 0 || (bottomRight && !causal)) {
    throw new TeError("option", `${fn}: attnMaskType must be one of ${MASK_TYPES.join(", ")}, got "${text}".`);
  }
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

/** The bias type in force: the one named, or what the presence of a bias implies. A mismatch is an error. */
export function resolveBiasType(fn: string, text: string | undefined, hasBias: boolean): BiasType {
  if (text === undefined) return hasBias ? "post_scale_bias" : "no_bias";
  const lower = text.toLowerCase();
  if (lower !== "no_bias" && lower !== "pre_scale_bias" && lower !== "post_scale_bias") {
    throw new TeError(
      "option",
      `${fn}: attnBiasType must be no_bias, pre_scale_bias or post_scale_bias, got "${text}".`,
    );
  }
  if ((lower === "no_bias") === hasBias) {
    throw new TeError(
      "option",
      `${fn}: attnBiasType "${lower}" ${hasBias ? "does not take a bias, but one was given" : "needs a bias"}.`,
    );
  }
  return lower;
}

export type SoftmaxType = "vanilla" | "off_by_one" | "learnable";

export function parseSoftmaxType(fn: string, text: string): SoftmaxType {
  const normal = text.toLowerCase().replaceAll("-", "_");
  if (normal === "vanilla" || normal === "off_by_one" || normal === "learnable") return normal;
  throw new TeError("option", `${fn}: softmaxType must be vanilla, off_by_one or learnable, got "${text}".`);
}

export type QkvLayout = "bs3hd" | "bshd_bs2hd" | "bshd_bshd_bshd";

export function parseQkvLayout(fn: string, text: string): QkvLayout {
  const lower = text.toLowerCase();
  if (lower === "bs3hd" || lower === "bshd_bs2hd" || lower === "bshd_bshd_bshd") return lower;
  if (/t[23]?hd/.test(lower)) {
    throw new TeError(
      "unsupported",
      `${fn}: qkvLayout "${text}" is not supported yet. Use a bshd layout with segment ids for packed sequences.`,
    );
  }
  throw new TeError("option", `${fn}: qkvLayout must be bs3hd, bshd_bs2hd or bshd_bshd_bshd, got "${text}".`);
}

export type RopeMethod = "consecutive" | "alternate";

export function parseRopeMethod(fn: string, text: string): RopeMethod {
  const normal = text.trim().toLowerCase().replaceAll(/[-_]/g, "");
  if (normal === "consecutive" || normal === "alternate") return normal;
  throw new TeError("option", `${fn}: rotaryPosEmbGroupMethod must be consecutive or alternate, got "${text}".`);
}

/** [left, right], inclusive; a negative side is unbounded. */
export function parseWindow(
  fn: string,
  window: readonly [number, number] | null | undefined,
): { windowLeft: number; windowRight: number } {
  const [left, right] = window ?? [-1, -1];
  for (const side of [left, right]) {
    if (!Number.isInteger(side))
      throw new TeError("option", `${fn}: windowSize must be two integers, got [${left}, ${right}].`);
  }
  return { windowLeft: Math.max(left, -1), windowRight: Math.max(right, -1) };
}
