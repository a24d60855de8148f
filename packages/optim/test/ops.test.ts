/** The cases of `adamw_update` on the reference backend. */
import "../src/index.js";
import { testBackend } from "@te/testkit";

testBackend("reference", { ops: ["adamw_update"] });
