export { packageTests as default } from "../../scripts/vitest.ts";
