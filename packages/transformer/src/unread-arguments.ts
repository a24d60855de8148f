/** Arguments that an option leaves unread, as the original does: where one is given all the same, one line says so. */
import { Tensor } from "@te/tensor";
import { fail, warnOnce } from "@te/tensor/op";
import { parseMaskType } from "./attention-options.js";
import { SequenceDescriptor } from "./sequence-descriptor.js";

/** The convention of masks, in every message about one. */
export const MASK_CONVENTION = "in a mask 1 or true = hidden";

/** Says once, or once for each `key`, that `fn` does not read an argument, why, and what to do. */
export function warnUnread(fn: string, argument: string, why: string, wayOut: string, key?: string): void {
  warnOnce(`${fn}: ${argument} is not read, ${why}. ${wayOut}`, key && `unread ${key}`);
}

/** A mask argument and the option that names the mask type, as [name, value]. */
interface MaskArgument {
  readonly argument: readonly [name: string, mask: unknown];
  readonly option: readonly [name: string, maskType: string];
}

/** The mask or descriptor where its type has padding. Other types do not read it, which is said once. */
export function readMask(fn: string, { argument, option }: MaskArgument): Tensor | SequenceDescriptor | undefined {
  const [[name, mask], [typeName, type]] = [argument, option];
  if (mask === undefined || mask === null) return undefined;
  if (!(mask instanceof Tensor) && !(mask instanceof SequenceDescriptor)) {
    const wayOut = `Make one with tensor(); ${MASK_CONVENTION}.`;
    fail("option", fn, `${name} must be a tensor or a SequenceDescriptor`, mask, wayOut);
  }
  const { padding, causal, bottomRight } = parseMaskType(fn, type);
  if (padding) return mask;
  const reading = ["padding", causal && "causal", bottomRight && "bottom_right"].filter(Boolean).join("_");
  const wayOut = `Use ${typeName} "${reading}" for it to count (${MASK_CONVENTION}), or leave it out.`;
  warnUnread(fn, name, `as ${typeName} is "${type}"`, wayOut);
  return undefined;
}
