// @te/checkpoint: tensors in safetensors files, and whole training states that come back with the same bits.
export { writeAtomically } from "./atomic.js";
export {
  type Decoded,
  decodeSafetensors,
  encodeSafetensors,
  type Metadata,
  type NamedTensors,
} from "./safetensors/codec.js";
export type { Conversions } from "./safetensors/elements.js";
export type { StoredType } from "./safetensors/format.js";
export { openSafetensors, type SafetensorsFile, type TensorInfo } from "./safetensors/reader.js";
export { writeSafetensors } from "./safetensors/writer.js";
export { loadState, saveState } from "./train-state.js";
