/** Paths and arguments that are none. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadState, saveState } from "@te/checkpoint";
import { expect, test } from "vitest";

test("a folder that does not exist", async () => {
  const path = join(tmpdir(), "te-no-such-folder", "a.safetensors");
  await expect(saveState(path, { step: 1 })).rejects.toThrow(/cannot be written: .*Make its folder first\./);
});

test("the state where the path should be", async () => {
  await expect(saveState({ step: 1 } as never, "a")).rejects.toThrow(/path must be the name of a file, got Object/);
});

test("a template that is not an option", async () => {
  await expect(loadState("a", { params: 1 } as never)).rejects.toThrow(/loadState: unknown option params/);
});
