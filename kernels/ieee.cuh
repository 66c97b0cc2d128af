// Arithmetic that rounds once, to nearest even, and keeps subnormals, whatever the compiler is told: in `float` and `double`,
// add, subtract, multiply, divide, square_root, smaller, larger; conversions to a working precision and to the array's type.
// product(a, b), the 128 bits of a product of integers. load_constant<T>(place), a T from memory that nobody writes.
//
// CuPy compiles with -ftz=true, and nvrtc and ptxas fuse a * b + c; PTX with an explicit rounding and no .ftz is subject to neither.
// Compilers for CPUs take `ieee_host.hpp` instead, which has of this what `host.cpp` needs.
#pragma once

namespace gpuinit {

using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i32 = int;
using i64 = long long;

struct Product {
    u64 low, high;
};

}  // namespace gpuinit

#ifndef __CUDACC__
#include "ieee_host.hpp"
#else

class bfloat16;  // declared by CuPy only in kernels that have such an array

namespace gpuinit {

#define GPUINIT_BINARY(name, instruction)                                                                  \
    __device__ __forceinline__ float name(float a, float b) {                                              \
        float r;                                                                                           \
        asm(instruction ".f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));                                    \
        return r;                                                                                          \
    }                                                                                                      \
    __device__ __forceinline__ double name(double a, double b) {                                           \
        double r;                                                                                          \
        asm(instruction ".f64 %0, %1, %2;" : "=d"(r) : "d"(a), "d"(b));                                    \
        return r;                                                                                          \
    }

GPUINIT_BINARY(add, "add.rn")
GPUINIT_BINARY(subtract, "sub.rn")
GPUINIT_BINARY(multiply, "mul.rn")
GPUINIT_BINARY(divide, "div.rn")
GPUINIT_BINARY(smaller, "min")
GPUINIT_BINARY(larger, "max")
#undef GPUINIT_BINARY

__device__ __forceinline__ float square_root(float a) {
    float r;
    asm("sqrt.rn.f32 %0, %1;" : "=f"(r) : "f"(a));
    return r;
}

__device__ __forceinline__ double square_root(double a) {
    double r;
    asm("sqrt.rn.f64 %0, %1;" : "=d"(r) : "d"(a));
    return r;
}

__device__ __forceinline__ Product product(u64 a, u64 b) { return {a * b, __umul64hi(a, b)}; }

template <typename T>
__device__ __forceinline__ T load_constant(const void *place) {
    static_assert(sizeof(T) % sizeof(uint4) == 0, "whole 16-byte loads");
    T value;
#pragma unroll
    for (int j = 0; j < (int)(sizeof(T) / sizeof(uint4)); ++j)
        reinterpret_cast<uint4 *>(&value)[j] = __ldg(reinterpret_cast<const uint4 *>(place) + j);
    return value;
}

template <typename W>
__device__ __forceinline__ W clamp(W value, W least, W greatest) {
    return smaller(larger(value, least), greatest);
}

// The working precision of an array's type, its bits, and words of its width.
template <typename W> struct Real;

template <> struct Real<float> {
    using Word = u32;
    using Signed = i32;
    static constexpr int precision = 24;
    static __device__ __forceinline__ float from(i32 v) {  // as PTX: some compilers make a slow 64-bit conversion of it
        float r;
        asm("cvt.rn.f32.s32 %0, %1;" : "=f"(r) : "r"(v));
        return r;
    }
    static __device__ __forceinline__ float from(i64 v) { return __ll2float_rn(v); }
    static __device__ __forceinline__ u32 bits(float v) { return __float_as_uint(v); }
    static __device__ __forceinline__ float of_bits(u32 b) { return __uint_as_float(b); }
};

template <> struct Real<double> {
    using Word = u64;
    using Signed = i64;
    static constexpr int precision = 53;
    static __device__ __forceinline__ double from(i64 v) { return __ll2double_rn(v); }
    static __device__ __forceinline__ u64 bits(double v) { return __double_as_longlong(v); }
    static __device__ __forceinline__ double of_bits(u64 b) { return __longlong_as_double(b); }
};

// bits(w): the bits of w rounded once to the array's type T; of 16-bit types also pair(w0, w1), those of two, w0's in the low half.
template <typename T> struct Rounded;

template <> struct Rounded<float> {
    using Working = float;
    using Bits = u32;
    static __device__ __forceinline__ u32 bits(float w) { return __float_as_uint(w); }
};

template <> struct Rounded<double> {
    using Working = double;
    using Bits = u64;
    static __device__ __forceinline__ u64 bits(double w) { return __double_as_longlong(w); }
};

// CuPy's 16-bit class.
template <> struct Rounded<float16> {
    using Working = float;
    using Bits = u16;
    static __device__ __forceinline__ u16 bits(float w) {
        u16 r;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(w));
        return r;
    }
    static __device__ __forceinline__ u32 pair(float w0, float w1) {
#if __CUDA_ARCH__ >= 800
        u32 r;
        asm("cvt.rn.f16x2.f32 %0, %2, %1;" : "=r"(r) : "f"(w0), "f"(w1));
        return r;
#else
        return bits(w0) | (u32)bits(w1) << 16;
#endif
    }
};

// CuPy's class for bfloat16. By integers, since only devices from sm_80 on have an instruction for it; w is no nan.
template <> struct Rounded<bfloat16> {
    using Working = float;
    using Bits = u16;
    static __device__ __forceinline__ u16 bits(float w) {
        const u32 b = __float_as_uint(w);
        return (b + 0x7fff + (b >> 16 & 1)) >> 16;
    }
    static __device__ __forceinline__ u32 pair(float w0, float w1) {
#if __CUDA_ARCH__ >= 800
        u32 r;
        asm("cvt.rn.bf16x2.f32 %0, %2, %1;" : "=r"(r) : "f"(w0), "f"(w1));
        return r;
#else
        return bits(w0) | (u32)bits(w1) << 16;
#endif
    }
};

}  // namespace gpuinit
#endif
