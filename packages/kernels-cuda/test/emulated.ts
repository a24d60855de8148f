/** Imported first: the kernels of these tests run on the emulator, unless TE_CUDA_EMULATED says otherwise ("" for a GPU). */
process.env.TE_CUDA_EMULATED ??= "1";
