/** The build that all published packages share. */
import { defineConfig } from "tsup";

/** How every published package is built: one ES module and its types. `using` is lowered, so that Node 20 runs the result. */
export const library = defineConfig({
  entry: ["src/index.ts"],
  format: "esm",
  target: "node20",
  dts: true,
  sourcemap: true,
  clean: true,
});
