# Debian's cross compiler for arm64, whose tests run under qemu-user: -DCMAKE_TOOLCHAIN_FILE=native/arm64.cmake
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
