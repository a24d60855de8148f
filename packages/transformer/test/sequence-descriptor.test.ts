/** Lengths, ends, ids and positions that no row can have are errors where a result of attention is read. */
import { jit, makeProgram, type Tensor, tensor } from "@te/tensor";
import { simplify } from "@te/tensor/backend";
import { expectError, normals, onEachDevice } from "@te/testkit";
import { describe, expect, test } from "vitest";
import { DotProductAttention, SequenceDescriptor } from "../src/index.js";

const int = (values: number[] | number[][]): Tensor => tensor(values, { dtype: "int32" });
const q = normals([2, 4, 2, 4]);

onEachDevice(() => {
  const attend = (descriptor: SequenceDescriptor, attnMaskType = "padding", k = q): Tensor =>
    new DotProductAttention({ headDim: 4, numAttentionHeads: 2, attnMaskType }).apply({}, q, k, k, descriptor, {
      deterministic: true,
    });
  const positions = int([
    [0, 1, 2, 3],
    [0, 1, 2, 3],
  ]);
  const ids = (last: number): Tensor =>
    int([
      [1, 1, 1, 1],
      [1, 1, 2, last],
    ]);

  const wrong: [string, RegExp, () => Tensor][] = [
    [
      "a length beyond the row",
      /^SequenceDescriptor\.fromSeqlens: every length must be in \[0, 4\], got 5 at position 1\. A row has 4 tokens/,
      () => attend(SequenceDescriptor.fromSeqlens(int([4, 5]))),
    ],
    [
      "a length below 0",
      /every length must be in \[0, 4\], got -1/,
      () => attend(SequenceDescriptor.fromSeqlens(int([-1, 2]))),
    ],
    [
      "a length of queries alone that is right for keys",
      /must be in \[0, 4\], got 6 at position 0\. A row has 4 tokens; give a pair/,
      () => attend(SequenceDescriptor.fromSeqlens(int([6, 6])), "padding", normals([2, 6, 2, 4])),
    ],
    [
      "a segment that ends behind the row",
      /^SequenceDescriptor\.fromSeqlensAndOffsets: every offset plus its length must be in \[-1, 4\], got 5 at position 1/,
      () =>
        attend(
          SequenceDescriptor.fromSeqlensAndOffsets(
            int([
              [2, 3],
              [2, 2],
            ]),
            int([
              [0, 2, 4],
              [0, 2, 4],
            ]),
          ),
        ),
    ],
    [
      "an offset behind the row",
      /every offset must be in \[-1, 4\], got 9/,
      () =>
        attend(
          SequenceDescriptor.fromSeqlensAndOffsets(
            int([
              [2, 0],
              [2, 2],
            ]),
            int([
              [0, 2, 9],
              [0, 2, 4],
            ]),
          ),
        ),
    ],
    [
      "an id below 0",
      /^SequenceDescriptor\.fromSegmentIdsAndPos: every segment id must be in \[0, 2147483647\], got -1 at position 7\. Ids count from 1/,
      () => attend(SequenceDescriptor.fromSegmentIdsAndPos(ids(-1), positions)),
    ],
    [
      "a position below 0",
      /every position must be in \[0, 2147483647\], got -3 at position 0/,
      () => attend(SequenceDescriptor.fromSegmentIdsAndPos(ids(0), positions.sub(3)), "padding_causal"),
    ],
    [
      "an id that has more than a row of others before it, where segments are counted",
      /every segment id of a bottom-right mask type must be in \[0, 8\], got 700 at position 7\. Number the segments/,
      () => attend(SequenceDescriptor.fromSegmentIdsAndPos(ids(700), positions), "padding_causal_bottom_right"),
    ],
  ];
  test.each(wrong)("%s", async (_, message, body) => {
    await expect(body().data()).rejects.toMatchObject({ code: "index", message: expect.stringMatching(message) });
  });

  test("in a compiled function, of which a call with right lengths stays right", async () => {
    const f = jit((lengths: Tensor) => attend(SequenceDescriptor.fromSeqlens(lengths)));
    await expect(f(int([4, 9])).data()).rejects.toThrow(/every length must be in \[0, 4\], got 9/);
    expect(await f(int([4, 0])).data()).toEqual(await attend(SequenceDescriptor.fromSeqlens(int([4, 0]))).data());
  });

  test("layers that share a descriptor share its check", () => {
    const twice = (lengths: Tensor): Tensor => {
      const descriptor = SequenceDescriptor.fromSeqlens(lengths);
      return attend(descriptor).add(attend(descriptor));
    };
    const { nodes } = simplify(makeProgram(twice)(int([4, 2])));
    expect(nodes.filter(({ op }) => op.name === "check_range").length).toBe(1);
  });

  test("masks in place of lengths and ids are refused with what turns one into the other", () => {
    const mask = ids(0).eq(0);
    expectError(
      "shape",
      /seqlens must have shape \[batch\], got int32\[2,4\]\. From a mask .*1 = visible: .*1 = hidden: mask\.eq\(0\)/,
      () => SequenceDescriptor.fromSeqlens(ids(0)),
    );
    expectError("dtype", /seqlens must be int32, got bool\[2,4\]\. Cast it .*1 = hidden/, () =>
      SequenceDescriptor.fromSeqlens(mask),
    );
    const idsMessage =
      /segmentIds must be int32, got bool\[2,4\]\. Cast .*0 is padding: a mask .*1 = hidden is mask\.eq\(0\) here/;
    expectError("dtype", idsMessage, () => SequenceDescriptor.fromSegmentIdsAndPos(mask, positions));
  });

  describe("what the rules allow", () => {
    test.each<[string, () => Tensor]>([
      ["lengths of 0 and of the row", () => attend(SequenceDescriptor.fromSeqlens(int([0, 4])))],
      [
        "a pair of lengths",
        () => attend(SequenceDescriptor.fromSeqlens([int([4, 4]), int([6, 5])]), "padding", normals([2, 6, 2, 4])),
      ],
      [
        "slots that are not used, whatever their offsets",
        () =>
          attend(
            SequenceDescriptor.fromSeqlensAndOffsets(
              int([
                [4, -1],
                [1, 3],
              ]),
              int([
                [0, 4, -1],
                [0, 1, 4],
              ]),
            ),
          ),
      ],
      ["gaps in ids", () => attend(SequenceDescriptor.fromSegmentIdsAndPos(ids(700), positions), "padding_causal")],
    ])("%s", async (_, body) => {
      expect((await body().values()).every(Number.isFinite)).toBe(true);
    });
  });
});
