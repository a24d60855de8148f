/** The two kinds of norm, and the spellings that stand for them. */
import { TeError } from "@te/tensor";
import { fail } from "@te/tensor/op";

/** "layernorm" or "rmsnorm"; case, spaces, "-" and "_" do not matter. */
export type LayerNormType = "layernorm" | "rmsnorm" | (string & {});

/** The one spelling used inside. rmsnorm with a zero-centred gamma is an error. */
export function parseNormType(fn: string, text: LayerNormType, zeroCenteredGamma: boolean): "layernorm" | "rmsnorm" {
  if (typeof text !== "string")
    fail("option", fn, 'layernormType must be "layernorm" or "rmsnorm"', text ?? String(text));
  const normal = text.trim().toLowerCase().replaceAll(/[-_]/g, "");
  if (normal !== "layernorm" && normal !== "rmsnorm") {
    throw new TeError("option", `${fn}: layernormType must be "layernorm" or "rmsnorm", got "${text}".`);
  }
  if (normal === "rmsnorm" && zeroCenteredGamma) {
    throw new TeError(
      "option",
      `${fn}: zeroCenteredGamma is for layernormType "layernorm" only. Leave it out with rmsnorm.`,
    );
  }
  return normal;
}
