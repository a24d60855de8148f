/** Mistakes in what reads and writes files, and in what becomes a tensor. */
import { type Mutant, mutant } from "./mutant.js";

const ATOMIC = "checkpoint/src/atomic.ts";
const TEMPORARY = "checkpoint/src/temporary.ts";
const ELEMENTS = "checkpoint/src/safetensors/elements.ts";
const CODEC = "checkpoint/src/safetensors/codec.ts";
const HEADER = "checkpoint/src/safetensors/header.ts";

const STORED = "checkpoint/src/safetensors/stored.ts";
const SHARDS = "checkpoint/src/safetensors/shards.ts";

export const CHECKPOINT: readonly Mutant[] = [
  mutant(
    "a link is replaced by a file",
    ATOMIC,
    "if (!old?.isSymbolicLink()) return old ? { target, old } : { target };",
    "return old ? { target, old } : { target };",
    "checkpoint/paths",
  ),
  mutant(
    "a link is followed from the folder of the process",
    ATOMIC,
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the source has it
    "`${await realpath(dirname(target))}${sep}${to}`",
    "to",
    "checkpoint/paths",
  ),
  mutant(
    "a pipe is replaced by a file",
    ATOMIC,
    "if (met && !met.isFile()) failNoFile(where, met);",
    "",
    "checkpoint/paths",
  ),
  mutant("a private file becomes public", ATOMIC, "if (old) await inherit(file, old);", "", "checkpoint/paths"),
  mutant(
    "a save that fails leaves its temporary file",
    ATOMIC,
    "await unlink(temporary).catch(() => {});",
    "",
    "checkpoint/file",
  ),
  mutant(
    "temporary files of dead processes stay",
    TEMPORARY,
    "where === kernel() ? !isAlive(Number(thread), start!) : await isAbandoned(path)",
    "false",
    "checkpoint/temporary",
  ),
  mutant(
    "temporary files of living processes are removed",
    TEMPORARY,
    "where === kernel() ? !isAlive(Number(thread), start!) : await isAbandoned(path)",
    "where === kernel() || (await isAbandoned(path))",
    "checkpoint/temporary",
  ),
  mutant(
    "a process that got the number of another is taken for it",
    TEMPORARY,
    "found.start === start && ",
    "",
    "checkpoint/temporary",
  ),
  mutant(
    "loading leaves what killed saves left",
    "checkpoint/src/safetensors/reader.ts",
    "await removeLeftovers(dirname(await realpath(path).catch(() => path)));",
    "",
    "checkpoint/temporary",
  ),
  mutant(
    "bytes are taken from the start of their buffer",
    CODEC,
    "all.slice(start + entry.begin, start + entry.end).buffer",
    "all.buffer.slice(start + entry.begin, start + entry.end)",
    "checkpoint/stored-types",
  ),
  mutant(
    "one tensor that no dtype holds spoils all",
    CODEC,
    'if (TeError.is(error) && error.code === "unsupported") return error;',
    "",
    "checkpoint/stored-types",
  ),
  mutant(
    "64-bit integers that do not fit are clamped without a word",
    ELEMENTS,
    'if (!asked && (type === "I64" || type === "U64")) checkFits(of, type, values, ask);',
    "",
    "checkpoint/stored-types",
  ),
  mutant(
    "the upper half of a 64-bit integer is lost",
    ELEMENTS,
    "halves[2 * i + 1]! * 2 ** 32 + (halves[2 * i]! >>> 0)",
    "halves[2 * i]!",
    "checkpoint/stored-types",
  ),
  mutant(
    "the lower half of a 64-bit integer has a sign",
    ELEMENTS,
    "(halves[2 * i]! >>> 0)",
    "halves[2 * i]!",
    "checkpoint/stored-types",
  ),
  mutant(
    "small floats lose their subnormals",
    ELEMENTS,
    "e === 0 ? fraction * 2 ** (1 - bias) :",
    "e === 0 ? 0 :",
    "checkpoint/stored-types",
  ),
  mutant(
    "no metadata is an error where it is null",
    HEADER,
    "metadata ?? {}",
    "metadata === undefined ? {} : metadata",
    "checkpoint/stored-types",
  ),
  mutant("ranges of a file may overlap", HEADER, "if (begin !== next) {", "if (begin > next) {", "checkpoint/codec"),
  mutant(
    "a name may stand twice",
    "checkpoint/src/safetensors/json.ts",
    "if (keys.has(key)) failFile(",
    "if (keys.has(key) && key === what) failFile(",
    "checkpoint/codec",
  ),
  mutant(
    "minus zero is saved as zero",
    "checkpoint/src/state-node.ts",
    'Object.is(value, -0) ? "-0" : String(value)',
    "String(value)",
    "checkpoint/train-state",
  ),
  mutant(
    "a template's shapes are not compared",
    "checkpoint/src/train-state.ts",
    "for (const leaf of expected.leaves) checkLeaf(where, file, leaf);",
    "",
    "checkpoint/train-state",
  ),
  // Over meshes
  mutant(
    "a part is put where it was in the file",
    STORED,
    "const to = offsetIn(wanted, part) * width;",
    "const to = offsetIn(block, part) * width;",
    "checkpoint/mesh",
  ),
  mutant(
    "rows of a part are read into one place",
    STORED,
    "isSame(run, part) && isRunOf(wanted, run)",
    "isSame(run, part) || isRunOf(wanted, run)",
    "checkpoint/mesh",
  ),
  mutant(
    "a byte that flipped is not found",
    STORED,
    "  if (isWhole) source.check(name, sum);",
    "",
    "checkpoint/index-file",
  ),
  mutant(
    "no gap is too wide to be read",
    STORED,
    "const GAP_BYTES = 2 ** 14;",
    "const GAP_BYTES = 2 ** 24;",
    "checkpoint/mesh",
  ),
  mutant(
    "all of a piece is read for a part of it",
    "checkpoint/src/safetensors/blocks.ts",
    "inner.shape[dim] === block.shape[dim]) dim--;\n  if (dim < 0)",
    "dim > 0) dim--;\n  if (dim < 0)",
    "checkpoint/mesh",
  ),
  mutant(
    "the first device writes what all devices hold",
    "checkpoint/src/safetensors/plan-shards.ts",
    "bytes[device]! += bytesIn(type, block);",
    "",
    "checkpoint/mesh",
  ),
  mutant(
    "a save that fails leaves files of its own",
    SHARDS,
    "for (const file of prepared) await file.discard();",
    "",
    "checkpoint/index-file",
  ),
  mutant(
    "the files of an earlier save go before the index is in its place",
    SHARDS,
    "await checkPresence(where, at);",
    "await removeEarlier(dirname(target), stem, files, earlier);",
    "checkpoint/index-file",
  ),
  mutant("the files of an earlier save stay", SHARDS, "earlier.includes(name) || ", "", "checkpoint/index-file"),
  mutant(
    "blocks of an index may leave gaps",
    "checkpoint/src/safetensors/index-file.ts",
    "places.size !== count || pieces.length !== count || ",
    "",
    "checkpoint/index-file",
  ),
  mutant(
    "an index may name files elsewhere",
    "checkpoint/src/safetensors/index-file.ts",
    "basename(file) !== file || ",
    "",
    "checkpoint/index-file",
  ),
  mutant(
    "long runs are cut once too often",
    "checkpoint/src/safetensors/blocks.ts",
    "Math.min(rows, inner.shape[dim]! - at)",
    "rows",
    "checkpoint/mesh",
  ),
  // Arrays
  mutant(
    "a Buffer holds numbers, not codes",
    "tensor/src/tensor.ts",
    "if (holdsCodes(kind, own))",
    "if (holdsCodes(kind, own) && data.constructor === elements.constructor)",
    "tensor/host-array",
  ),
  mutant(
    "a tensor shares the memory of its array",
    "tensor/src/tensor.ts",
    "place(target, own, elements as TypedArray, Storage.ofCopy)",
    "place(target, own, elements as TypedArray)",
    "tensor/tensor",
  ),
  mutant(
    "copies of the package do not share devices",
    "tensor/src/devices.ts",
    "all.filter(({ contract }) => contract === CONTRACT)",
    "all.filter(({ contract }) => contract > CONTRACT)",
    "tensor/copies",
  ),
];
