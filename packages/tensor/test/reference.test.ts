/** Every op of the package on the reference backend, and its gradients against finite differences. */
import { testBackend, testGradients } from "@te/testkit";

testBackend("reference");
testGradients();
