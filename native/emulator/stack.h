// The stacks of a block's threads, and going from one to another.
#pragma once
#include "emulator/fiber.h"

namespace te::emu {

constexpr int kMaxThreads = 1024;

// Saves where the caller is in *save and goes on at `load`.
extern "C" void te_emu_switch(void** save, void* load);

// Gives thread `index` a fresh stack; returns where it begins: `start`, which never returns.
void* prepare_stack(int index, void (*start)());

}  // namespace te::emu
