/** Movement of elements where shapes are large or odd: tiles, rows, words of every width, many axes. */
import {
  concat,
  type DType,
  dynamicSlice,
  dynamicUpdateSlice,
  flip,
  full,
  jit,
  memory,
  pad,
  setDevice,
  slice,
  type Tensor,
  tensor,
  zeros,
} from "@te/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { expectSameBits, numbers } from "./against-reference.js";

afterAll(() => setDevice("auto"));
const DTYPES: readonly DType[] = ["uint8", "bfloat16", "float32"];
const eachDType = (make: (dtype: DType) => Tensor | Tensor[]) => async () => {
  for (const dtype of DTYPES) await expectSameBits(() => make(dtype));
};

describe("transpose", () => {
  test.each<[shape: number[], perm: number[]]>([
    [
      [128, 256],
      [1, 0],
    ],
    [
      [65, 131],
      [1, 0],
    ],
    [
      [64, 131],
      [1, 0],
    ],
    [
      [131, 64],
      [1, 0],
    ],
    [
      [7, 300],
      [1, 0],
    ],
    [
      [3, 80, 144],
      [0, 2, 1],
    ],
    [
      [48, 3, 5, 80],
      [3, 1, 2, 0],
    ],
    [
      [33, 2, 17, 8],
      [2, 1, 0, 3],
    ],
    [
      [70, 50, 2],
      [1, 0, 2],
    ],
    [
      [70, 50, 4],
      [1, 0, 2],
    ],
    [
      [40, 30, 8],
      [1, 0, 2],
    ],
    [
      [20, 30, 3],
      [1, 0, 2],
    ],
    [
      [20, 30, 48],
      [1, 0, 2],
    ],
    [
      [3, 1, 2, 2, 3, 2, 5, 2, 3, 2],
      [9, 7, 5, 3, 1, 8, 6, 4, 2, 0],
    ],
  ])("%j %j", async (shape, perm) => {
    await eachDType((dtype) => numbers(shape, dtype).transpose(perm))();
  });
});

describe("copies with strides", () => {
  test(
    "slices that start and end anywhere",
    eachDType((dtype) => {
      const x = numbers([9, 5, 131], dtype);
      return [
        slice(x, [1, 0, 3], [9, 5, 130]),
        slice(x, [0, 1, 0], [9, 4, 131]),
        slice(x, [0, 0, 16], [9, 5, 48]),
        slice(x, [1, 1, 2], [9, 5, 131], [3, 2, 5]),
        slice(numbers([6, 4, 64], dtype), [0, 1, 32], [6, 3, 64]),
        slice(numbers([70000], dtype), [1]),
      ];
    }),
  );
  test(
    "reversals",
    eachDType((dtype) => {
      const x = numbers([5, 33, 16], dtype);
      return [flip(x), flip(x, 0), flip(x, 1), flip(x, [0, 2])];
    }),
  );
  test(
    "broadcasts",
    eachDType((dtype) => [
      numbers([33, 1], dtype).broadcastTo([33, 65]),
      numbers([1, 48], dtype).broadcastTo([33, 48]),
      numbers([], dtype).broadcastTo([3, 100]),
      numbers([5, 1, 7, 1], dtype).broadcastTo([2, 5, 3, 7, 9]),
    ]),
  );
  test(
    "joined arrays",
    eachDType((dtype) => [
      concat([numbers([5, 33], dtype), numbers([5, 1], dtype, "y"), numbers([5, 30], dtype, "z")], 1),
      concat([numbers([7, 64], dtype), numbers([7, 32], dtype, "y")], 1),
      concat([numbers([3, 31], dtype), numbers([0, 31], dtype), numbers([4, 31], dtype, "y")], 0),
      concat([numbers([3, 5, 8], dtype), numbers([3, 2, 8], dtype, "y")], 1),
    ]),
  );
  test(
    "padded arrays",
    eachDType((dtype) => [
      pad(numbers([3, 5, 7], dtype), [1, 0, 2], [0, 3, 1], 5),
      pad(numbers([3, 32], dtype), [2, 16], [1, 16], 1),
      pad(numbers([4, 3, 32], dtype), [1, 0, 0], [2, 0, 0]),
      pad(numbers([2000], dtype), [3], [100]),
      pad(numbers([], dtype), [], []).add(pad(numbers([1], dtype), [0], [0]).reshape([])),
    ]),
  );
  test("values of every dtype", async () => {
    for (const dtype of [
      "float16",
      "bfloat16",
      "float8_e4m3fn",
      "float8_e5m2",
      "int32",
      "uint32",
      "uint8",
      "bool",
    ] as const)
      await expectSameBits(() => [full([37], 1, { dtype }), pad(zeros([3], { dtype }), [1], [17], 1)]);
    await expectSameBits(() => [
      full([37], 0.1, { dtype: "float16" }),
      pad(zeros([3], { dtype: "float16" }), [1], [17], 0.1),
    ]);
  });
});

describe("windows whose start is a value", () => {
  const at = (...start: number[]) => tensor(Int32Array.from(start));
  test(
    "are held inside",
    eachDType((dtype) => {
      const x = numbers([6, 40, 16], dtype);
      return [
        [0, 0, 0],
        [3, 7, 0],
        [9, 99, 5],
        [-3, -1, 1],
      ].flatMap((start) => [
        dynamicSlice(x, at(...start), [2, 8, 16]),
        dynamicSlice(x, at(...start), [1, 3, 5]),
        dynamicUpdateSlice(x, numbers([2, 8, 16], dtype, "u"), at(...start)),
        dynamicUpdateSlice(x, numbers([6, 1, 3], dtype, "u"), at(...start)),
      ]);
    }),
  );
  test("a donated cache is written where it lies, the window alone", async () => {
    setDevice("cuda");
    const write = jit((cache: Tensor, row: Tensor, start: Tensor) => dynamicUpdateSlice(cache, row, start), {
      donateArgnums: [0],
    });
    let cache = zeros([2, 4096, 8]);
    for (let i = 0; i < 4; i++) cache = write(cache, full([2, 1, 8], i + 1), at(0, 20 * i, 0));
    const live = memory().live;
    const data = await cache.data();
    expect([0, 20, 40, 60].map((row) => data[row * 8])).toEqual([1, 2, 3, 4]);
    expect([...data].reduce((a, b) => a + b)).toBe(2 * 8 * 10);
    cache = write(cache, full([2, 1, 8], 9), at(0, 1, 0));
    await cache.data();
    expect(memory().live).toBeLessThan(live + 4096);
  });
});
