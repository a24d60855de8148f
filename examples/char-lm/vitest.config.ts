/** Tests run here as in the packages. */
export { packageTests as default } from "../../scripts/vitest.ts";
