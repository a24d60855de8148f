import { defineConfig } from "vitest/config";

// For editors and for `npx vitest` at the root. `npm test` runs the same projects through turbo, one after another.
export default defineConfig({ test: { projects: ["packages/*", "examples/*"] } });
