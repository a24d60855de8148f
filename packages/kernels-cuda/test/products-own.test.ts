/** Products without cuBLASLt: those of our own kernels, on tensor cores and on the others. */
import "./without-cublaslt.js";
import "./emulated.js";
import "@te/kernels-cpu";
import "@te/kernels-cuda";
import { cudaInfo } from "@te/kernels-cuda";
import { expect, test } from "vitest";
import { judgeProducts } from "./judge-products.js";

test("cuBLASLt is off", () =>
  expect(cudaInfo()).toMatchObject({ products: "products by its own kernels (TE_CUBLASLT=off)" }));

judgeProducts();
