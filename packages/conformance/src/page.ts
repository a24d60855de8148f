/** The rows of Transformer Engine's JAX page, and the public names that each of them is here. */
import { type PublicName, readOptions } from "@te/testkit/options";

export const PAGE: Readonly<Record<string, readonly string[]>> = {
  "logical axes": [
    "BATCH_AXES",
    "SEQLEN_AXES",
    "SEQLEN_TP_AXES",
    "SEQLEN_CP_AXES",
    "HEAD_AXES",
    "HIDDEN_AXES",
    "HIDDEN_TP_AXES",
    "JOINED_AXES",
    "W_NO_SHARD_AXES",
    "W_FSDP_AXES",
    "W_TP_AXES",
    "W_JOINED_AXES",
  ],
  MeshResource: ["MeshResource", "globalShardGuard", "globalMeshResource"],
  fp8Autocast: ["fp8Autocast", "autocast"],
  DelayedScaling: ["DelayedScaling", "Format"],
  Float8CurrentScaling: ["Float8CurrentScaling"],
  updateCollections: ["updateCollections"],
  LayerNorm: ["LayerNorm"],
  DenseGeneral: ["DenseGeneral"],
  LayerNormDenseGeneral: ["LayerNormDenseGeneral"],
  LayerNormMLP: ["LayerNormMLP"],
  RelativePositionBiases: ["RelativePositionBiases"],
  DotProductAttention: ["DotProductAttention", "SequenceDescriptor"],
  MultiHeadAttention: ["MultiHeadAttention"],
  TransformerLayer: ["TransformerLayer"],
  TransformerLayerType: ["TransformerLayerType"],
  extendLogicalAxisRules: ["extendLogicalAxisRules"],
};

/** Something of a row that a case must exercise. */
export interface Item {
  /** "LayerNorm.epsilon", "DotProductAttention.call.mask", "TransformerLayerType.ENCODER", "BATCH_AXES". */
  readonly key: string;
  /** What the source says the default is. */
  readonly default: string | undefined;
}

let page: readonly PublicName[] | undefined;

/** The public names of the packages that have rows; read once per process. */
export function readPage(): readonly PublicName[] {
  page ??= readOptions(["@te/sharding", "@te/fp8", "@te/layers", "@te/transformer"]);
  return page;
}

/** The parameters of a row, read from the source: one that is added there has to get a case. */
export function itemsOf(row: string, names: readonly PublicName[]): Item[] {
  return PAGE[row]!.flatMap((name) => {
    const found = names.find((of) => of.name === name);
    if (!found) throw new Error(`conformance: ${row}: no package exports ${name}`);
    const parameters = found.parameters.map((p) => ({ key: `${name}.${p.name}`, default: p.default }));
    const call = found.call.map((p) => ({ key: `${name}.call.${p.name}`, default: p.default }));
    const values = Object.keys(found.values).map((value) => ({
      key: value ? `${name}.${value}` : name,
      default: undefined,
    }));
    const items = [...parameters, ...call, ...values];
    return items.length ? items : [{ key: name, default: undefined }];
  });
}
