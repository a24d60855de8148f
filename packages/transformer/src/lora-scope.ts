/** Scopes of low-rank adapters: the names for sets of projections that have them. */
import { failChoice, lowerCase } from "./choices.js";

const SCOPES = {
  none: [],
  all: ["qkv_proj", "output_proj", "mlp"],
  qkv_proj: ["qkv_proj"],
  output_proj: ["output_proj"],
  mlp: ["mlp"],
  exclude_qkv_proj: ["output_proj", "mlp"],
  exclude_output_proj: ["qkv_proj", "mlp"],
  exclude_mlp: ["qkv_proj", "output_proj"],
} as const satisfies Record<string, readonly ("qkv_proj" | "output_proj" | "mlp")[]>;

export type LoraScope = keyof typeof SCOPES;

/** Which projections get low-rank adapters; null and undefined are "none". */
export function parseLoraScope(fn: string, scope: string | null | undefined): LoraScope {
  const lower = lowerCase(scope ?? "none");
  if (Object.hasOwn(SCOPES, lower)) return lower as LoraScope;
  return failChoice(fn, "lowRankAdaptationScope", `one of ${Object.keys(SCOPES).join(", ")}`, scope);
}

export const loraUses = (scope: LoraScope, part: "qkv_proj" | "output_proj" | "mlp"): boolean =>
  (SCOPES[scope] as readonly string[]).includes(part);
