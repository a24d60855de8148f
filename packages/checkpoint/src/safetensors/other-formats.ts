/** Files that are taken for safetensors files, by their first bytes, and what to do with them. */

/** How many bytes of a file are looked at. */
export const HEAD_BYTES = 4096;

/** What to do with files of PyTorch and others. */
export const CONVERT =
  "Convert it once with the library that wrote it: safetensors.torch.save_file(state_dict, path) in Python.";

/** First bytes, as Latin-1 text, and what they say. */
const MAGIC: readonly (readonly [string, string])[] = [
  ["PK\x03\x04", `a zip archive, as PyTorch's .bin and .pt files and NumPy's .npz files are. ${CONVERT}`],
  ["\x80\x02", `a Python pickle, as older .bin and .pt files of PyTorch are. ${CONVERT}`],
  ["\x80\x04", `a Python pickle. ${CONVERT}`],
  ["\x80\x05", `a Python pickle. ${CONVERT}`],
  ["GGUF", "a GGUF file of llama.cpp. Take the safetensors files that it was made from."],
  ["\x93NUMPY", `a .npy file of NumPy. ${CONVERT}`],
  ["\x89HDF\r\n", `an HDF5 file, as .h5 files of Keras and TensorFlow are. ${CONVERT}`],
  ["version https://git-lfs", "a pointer of Git LFS in place of the file. Fetch the file itself: git lfs pull."],
  ["\x1f\x8b", "a file compressed by gzip. Unpack it first: gunzip."],
  ["\x28\xb5\x2f\xfd", "a file compressed by zstd. Unpack it first: unzstd."],
  ["<", "a web page, probably the error of a download. Download the file again."],
];

/**
 * What a file is that is no safetensors file, and the way out; undefined where its first bytes say nothing of the kind.
 * Headers are shorter than 2^32 bytes: where bytes 4 to 7 are zero, the others are a length, whatever they look like.
 */
export function nameOtherFormat(head: Uint8Array): string | undefined {
  const text = Buffer.from(head.buffer, head.byteOffset, Math.min(head.byteLength, HEAD_BYTES)).toString("latin1");
  if (text.length < 8 || text.slice(4, 8) === "\0\0\0\0") return undefined;
  return MAGIC.find(([magic]) => text.startsWith(magic))?.[1] ?? nameJson(text.trimStart());
}

function nameJson(text: string): string | undefined {
  if (!/^\{\s*["}]/.test(text)) return undefined;
  const isIndex = /"weight_map"|"total_size"/.test(text);
  if (!isIndex) return "JSON text. Name the .safetensors file that it belongs to.";
  return 'the index of a model in several files. Give openSafetensors its path, which must end in ".index.json".';
}
