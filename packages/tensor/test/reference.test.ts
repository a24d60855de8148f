import { testBackend, testGradients } from "@te/testkit";

testBackend("reference");
testGradients();
