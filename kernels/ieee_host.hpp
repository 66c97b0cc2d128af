// For CPUs, what `ieee.cuh` offers to fills of float and double. Plain operators round once where the compiler neither fuses nor
// reorders them: -ffp-contract=off, no fast-math.
#pragma once

#if defined(__FAST_MATH__) || __FLT_EVAL_METHOD__ != 0
#error "operations that are not rounded once would give other values than the contract's"
#endif

#define __device__
#define __forceinline__ inline __attribute__((always_inline))

namespace gpuinit {

template <typename W> __forceinline__ W add(W a, W b) { return a + b; }
template <typename W> __forceinline__ W multiply(W a, W b) { return a * b; }

__forceinline__ Product product(u64 a, u64 b) {
    const unsigned __int128 whole = (unsigned __int128)a * b;
    return {(u64)whole, (u64)(whole >> 64)};
}

template <typename T>
__forceinline__ const T &load_constant(const void *place) {
    return *reinterpret_cast<const T *>(place);
}

template <typename W>
__forceinline__ W clamp(W value, W least, W greatest) {
    const W raised = value < least ? least : value;
    return raised > greatest ? greatest : raised;
}

template <typename To, typename From>
__forceinline__ To same_bits(From value) {
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To bits;
    __builtin_memcpy(&bits, &value, sizeof(bits));
    return bits;
}

template <typename W> struct Real;

template <> struct Real<float> {
    using Word = u32;
    using Signed = i32;
    static constexpr int precision = 24;
    template <typename Integer> static __forceinline__ float from(Integer v) { return (float)v; }
    static __forceinline__ u32 bits(float v) { return same_bits<u32>(v); }
    static __forceinline__ float of_bits(u32 b) { return same_bits<float>(b); }
};

template <> struct Real<double> {
    using Word = u64;
    using Signed = i64;
    static constexpr int precision = 53;
    template <typename Integer> static __forceinline__ double from(Integer v) { return (double)v; }
    static __forceinline__ u64 bits(double v) { return same_bits<u64>(v); }
    static __forceinline__ double of_bits(u64 b) { return same_bits<double>(b); }
};

}  // namespace gpuinit
